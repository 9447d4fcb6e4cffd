"""The kind `webdav`: each event is a new CSV file on a WebDAV share (RFC 4918), for ERPs that import files.

    request: {folder: /import/orders, rows: [[order, code, quantity], [OT-17, R-1, "2.000"]]}

The file's name is made of the delivery's id, and a file that is there is not written again: repeating is safe.
"""

import csv
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from io import StringIO
from typing import Any, ClassVar

from connectors.classification import classify
from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer
from connectors.http_request import path_target
from connectors.http_settings import check_http_settings
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Leaf,
    Outcome,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
)

SHAPE = RequestShape({
    "folder": RequestKey(Leaf.PATH, required=True, check=path_target),
    "rows": RequestKey(Leaf.TREE, required=True),
}, payload=("rows",))  # fmt: skip


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    SHAPE.check_keys("webdav", request)
    rows, file = request.get("rows"), StringIO()
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise RequestInvalid("request.rows must be a list of lists")
    csv.writer(file).writerows([[_text(value) for value in row] for row in rows])
    name = sha256(idempotency_key.encode()).hexdigest()[:32] + ".csv"
    path = f"{path_target(request.get('folder')).rstrip('/')}/{name}"
    return Prepared("webdav", {"path": path, "file": file.getvalue()}, file.getvalue().encode())


def _text(value: Any) -> str:
    match value:
        case None | str():
            return value or ""
        case bool() | int() | Decimal():
            return f"{value:f}" if isinstance(value, Decimal) else str(value).lower()
    raise RequestInvalid(f"request.rows holds {type(value).__name__}, which no field of a CSV file can be")


def check_settings(settings: ConnectionSettings) -> None:
    check_http_settings(settings)


def open_connector(settings: ConnectionSettings) -> Connector:
    return WebDav(settings)


class WebDav:
    kind: ClassVar[str] = "webdav"

    def __init__(self, settings: ConnectionSettings) -> None:
        self._client = ErpClient(settings)

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        return prepare(request, idempotency_key)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        headers = {"Content-Type": "text/csv; charset=utf-8", "If-None-Match": "*"}
        try:
            path, content = prepared.parts["path"], prepared.content
            received = await self._client.exchange("PUT", path, headers, content, permit)
        except NoAnswer as error:
            return error.outcome
        answer = self._client.answer(received)
        if (
            answer.status == 412
        ):  # RFC 9110, 13.1.2: the file is there, so this delivery has written it before
            return Delivered(answer, "the file was there already")
        return classify(answer, datetime.now(UTC))

    async def aclose(self) -> None:
        await self._client.aclose()
