"""Messages of the plugin wal2json, format version 2: JSON in, values out; no state.

A change carries its table's name and, for each column, name, type OID and value; unchanged values that are stored out of
line are left out. Values become the text that pgoutput would have sent, so that both go the same way from there on.
"""

import json
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Raw

from cdc.foreign_bytes import KEPT
from cdc.pgoutput import NULL

OPTIONS = {
    "format-version": "2",
    # type names are not escaped where they are quoted identifiers; OIDs are plain numbers
    "include-types": "false",
    "include-type-oids": "true",
    "include-xids": "true",
    "include-timestamp": "true",
    "include-lsn": "true",
    "include-pk": "true",
}
"""What is asked of the plugin. No table list: what is renamed or attached later would be lost without a word."""

NUMBERS_AS_TEXT = "numeric-data-types-as-string"
"""From wal2json 2.6 on: without it NaN and Infinity are null."""

FLOATING = frozenset({700, 701, 1700})
"""Type OIDs of float4, float8 and numeric: those whose NaN and Infinity get lost."""

_BYTEA = 17
_SINCE = datetime(2000, 1, 1, tzinfo=UTC)


class Column(msgspec.Struct, frozen=True, gc=False):
    """One of a row's; in a primary key without value."""

    name: str
    typeoid: int
    value: Raw = Raw()

    @property
    def type_oid(self) -> int:
        """The plugin prints it signed."""
        return self.typeoid & 0xFFFFFFFF

    def text(self) -> str | int:
        """As pgoutput sends it: text, or the mark NULL."""
        raw = bytes(self.value)
        if raw[:1] == b'"':
            text = _text(raw)
            # the plugin takes the beginning of `\x0123ab` away
            return f"\\x{text}" if self.typeoid == _BYTEA else text
        return _CONSTANTS.get(raw) or raw.decode("ascii")


def _text(raw: bytes) -> str:
    try:
        return _decode_text(raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        # bytes that are no UTF-8 although the database is
        text: str = json.loads(raw.decode("utf-8", KEPT))
        return text


_CONSTANTS: dict[bytes, str | int] = {b"null": NULL, b"true": "t", b"false": "f"}


class Message(msgspec.Struct, frozen=True, gc=False):
    """action: B, C, I, U, D, T or M. Members that an action does not have are empty; lsn and nextlsn are text."""

    action: str
    xid: int | None = None
    timestamp: str | None = None
    lsn: str = ""
    nextlsn: str = ""
    schema: str = ""
    table: str = ""
    columns: Raw = Raw()
    identity: Raw = Raw()
    pk: Raw = Raw()
    transactional: bool = False
    prefix: str = ""
    content: str = ""


def parse(payload: bytes) -> Message:
    """Raises msgspec.DecodeError, ValueError."""
    try:
        return _decode_message(payload)
    except (UnicodeDecodeError, msgspec.DecodeError):
        # an application's message may hold any bytes, and must not stop capture
        if not payload.startswith(b'{"action":"M"'):
            raise
    return msgspec.convert(json.loads(payload.decode("utf-8", KEPT)), Message)


def columns(raw: Raw) -> list[Column]:
    """Of the members `columns`, `identity` or `pk`; those that are absent have none."""
    return _decode_columns(raw) if bytes(raw) else []


def content_bytes(content: str) -> bytes:
    """What pg_logical_emit_message was given, up to the first NUL."""
    return content.encode("utf-8", KEPT)


def microseconds(timestamp: str) -> int:
    """From `2026-11-24 03:28:19.83+00`: since 2000 UTC, as PostgreSQL counts."""
    return (datetime.fromisoformat(timestamp) - _SINCE) // timedelta(microseconds=1)


_decode_message = msgspec.json.Decoder(Message).decode
_decode_columns = msgspec.json.Decoder(list[Column]).decode
_decode_text = msgspec.json.Decoder(str).decode
