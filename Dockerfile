FROM python:3.13-slim AS build
WORKDIR /source
RUN apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev && pip install --no-cache-dir build
COPY . .
RUN python -m build --wheel --outdir /wheels

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -r /wheels && useradd --system bridge
USER bridge
WORKDIR /etc/bridge
ENTRYPOINT ["bridge"]
CMD ["up"]
