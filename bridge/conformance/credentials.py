"""Credentials: refused, ended and renewed, and never told to anybody but the ERP."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bridge.conformance.check import TEXT, Trial, check, expect, expected
from bridge.conformance.kind import KEY, PASSWORD
from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from connectors.protocol import Delivered, Unavailable

_STATUSES = (200, 201, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503)


@check
async def unavailable_when_the_credentials_are_wrong(trial: Trial) -> None:
    """That is the connection's trouble, not the event's."""
    trial.erp.accept("Bearer something-else")
    outcome = expected(Unavailable, await trial.once(), "credentials that the ERP does not accept")
    expect(outcome.code == "authentication", f"its code is 'authentication', not {outcome.code!r}")


@check
async def a_token_that_ends_is_renewed_once(trial: Trial) -> None:
    """Whatever is under way when it ends is delivered, once."""
    async with _TokenDesk() as desk:
        auth = {
            "type": "oauth2_client_credentials",
            "token_url": f"{desk.base_url}/token",
            "client_id": "bridge",
            "client_secret": PASSWORD,
        }
        connector = trial.connector(auth=auth, concurrency=4)
        trial.erp.accept("Bearer token-1")
        expected(Delivered, await trial.send(connector, key="first"), "the first")
        trial.erp.accept("Bearer token-2")
        outcomes = await asyncio.gather(*(trial.send(connector, key=f"{KEY}/{n}") for n in range(4)))
        for outcome in outcomes:
            expected(Delivered, outcome, "what was under way")
        expect(len(trial.erp.effects) == 5, f"each once: {len(trial.erp.effects)}")
        expect(len(desk.calls) == 2, f"one token, and one more: {len(desk.calls)}")


class _TokenDesk(ErpServer):
    """Gives token-1, token-2, … (RFC 6749, 5.1)."""

    def handle(self, call: Call) -> Reply:
        _ = call
        token = {"access_token": f"token-{len(self.calls)}", "token_type": "Bearer", "expires_in": 3600}
        return Reply(200, token)


@check
async def no_secret_comes_out_even_when_the_erp_echoes_it(trial: Trial) -> None:
    """Not in an outcome, a request that is shown, a log line, or what Python calls the objects."""
    words = f"no: {PASSWORD}\nBearer {PASSWORD}"
    body = {"message": words, "error": {"message": words, "code": PASSWORD}, "you_sent": [PASSWORD]}
    replies = [Reply(status, body) for status in _STATUSES]
    replies += [Reply(status, words) for status in _STATUSES]
    replies += [Reply(400, body, {"X-Seen": PASSWORD}), *trial.kind.echoes(PASSWORD)]
    with _logged() as logged:
        connector = trial.connector()
        request = connector.prepare(trial.kind.request(TEXT), KEY)
        seen = [repr(trial.settings()), repr(connector), repr(request), str(request.to_json())]
        trial.erp.script(Step(reply) for reply in replies)
        seen += [repr(await trial.send(connector)) for _ in replies]
        trial.erp.script([Step(replace(replies[0], headers={}), cut="within")])
        seen.append(repr(await trial.send(connector)))
        await trial.erp.down()
        seen.append(repr(await trial.send(connector)))
    told = [text for text in [*seen, *logged] if PASSWORD in text]
    expect(not told, f"a secret came out: {told}")


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What goes to the standard library's loggers meanwhile."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    root, handler = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
