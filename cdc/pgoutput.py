"""Messages of the plugin pgoutput, protocol version 2 (PostgreSQL documentation, "Logical Replication Message Formats").

Bytes in, tuples out; no state. Integers are big-endian, names end with a NUL, column values come as text. Between
Stream Start and Stream Stop every message but Origin carries four bytes more behind its tag, the id of the
(sub)transaction: whoever keeps such a message takes them out.

A row is a list with one item a column: the value as str, or a mark (`NULL`, `UNCHANGED`).
"""

import struct
from typing import NamedTuple

import msgspec

from cdc.foreign_bytes import KEPT

Row = list[str | int]
"""Text, or one of the two marks."""

NULL = 0x6E  # 'n'
UNCHANGED = 0x75  # 'u': stored out of line and not touched, so the WAL does not carry it
_TEXT = 0x74  # 't'

NEW_ROW = 0x4E  # 'N'
OLD_KEY = 0x4B  # 'K'
OLD_ROWS = b"KO"
"""K: an old row of which only the identity's columns were sent; O: a whole one, under REPLICA IDENTITY FULL."""

BEGIN, COMMIT, ORIGIN, RELATION, TYPE = b"BCORY"
INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = b"IUDTM"
STREAM_START, STREAM_STOP, STREAM_COMMIT, STREAM_ABORT = b"SEcA"

_NAMES = {
    "B": "Begin",
    "C": "Commit",
    "O": "Origin",
    "R": "Relation",
    "Y": "Type",
    "I": "Insert",
    "U": "Update",
    "D": "Delete",
    "T": "Truncate",
    "M": "Message",
    "S": "Stream Start",
    "E": "Stream Stop",
    "c": "Stream Commit",
    "A": "Stream Abort",
    # of later protocol versions
    "b": "Begin Prepare",
    "P": "Prepare",
    "K": "Commit Prepared",
    "r": "Rollback Prepared",
    "p": "Stream Prepare",
}

_BEGIN = struct.Struct(">xQqI")
_COMMIT = struct.Struct(">xxQQ8x")
_STREAM_START = struct.Struct(">xIB")
_STREAM_COMMIT = struct.Struct(">xIxQQq")
_STREAM_ABORT = struct.Struct(">xII")
_OID = struct.Struct(">xI")
_COLUMN = struct.Struct(">Ii")
_RELATION_TAIL = struct.Struct(">cH")
_TRUNCATE = struct.Struct(">xIB")
_MESSAGE = struct.Struct(">xBQ")
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">H")


class MessageInvalid(ValueError):
    """Not a message of pgoutput's protocol version 2, or one that is cut short or out of place."""


class Column(NamedTuple):
    """`identity`: part of the replica identity; under FULL every column is."""

    name: str
    type_oid: int
    identity: bool


class Relation(NamedTuple):
    """`replica_identity`: pg_class.relreplident, one of d, n, f, i."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[Column, ...]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


class Type(NamedTuple):
    """A type that is not built in. For a domain schema and name are its base type's."""

    oid: int
    schema: str
    name: str


class StreamCommit(NamedTuple):
    """A streamed transaction's end, as Begin and Commit tell it of others. `commit_ts`: microseconds since 2000 UTC."""

    xid: int
    commit_lsn: int
    end_lsn: int
    commit_ts: int

    def begin(self) -> bytes:
        """The Begin that the transaction would have had, had it not been streamed."""
        return b"B" + _BEGIN.pack(self.commit_lsn, self.commit_ts, self.xid)[1:]

    def commit(self) -> bytes:
        """Its Commit."""
        return b"C" + _COMMIT.pack(self.commit_lsn, self.end_lsn)[1:]


class LogicalMessage(NamedTuple):
    """What pg_logical_emit_message wrote. `lsn`: the end of its record."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


def message_name(payload: bytes) -> str:
    """What people call a message: `Insert (tag I)`."""
    tag = chr(payload[0]) if payload else ""
    return f"{_NAMES.get(tag, 'an unknown message')} (tag {tag!r})"


def parse_begin(payload: bytes) -> tuple[int, int, int]:
    """The commit record's LSN, which is the transaction's place; its time, microseconds since 2000 UTC; the xid."""
    return _BEGIN.unpack(payload)


def parse_commit(payload: bytes) -> tuple[int, int]:
    """The commit record's LSN, and where it ends: what may be confirmed once everything is published."""
    return _COMMIT.unpack(payload)


def parse_stream_start(payload: bytes) -> tuple[int, bool]:
    """The top-level transaction's xid, and whether this is its first block."""
    xid, first = _STREAM_START.unpack(payload)
    return xid, first == 1


def parse_stream_commit(payload: bytes) -> StreamCommit:
    return StreamCommit._make(_STREAM_COMMIT.unpack(payload))


def parse_stream_abort(payload: bytes) -> tuple[int, int]:
    """The top-level transaction's xid, and that of the subtransaction: the same where the whole is given up."""
    return _STREAM_ABORT.unpack(payload)


def parse_relation(payload: bytes) -> Relation:
    (oid,) = _OID.unpack_from(payload)
    schema, at = _name(payload, 5)
    name, at = _name(payload, at)
    identity, count = _RELATION_TAIL.unpack_from(payload, at)
    at += _RELATION_TAIL.size
    columns = []
    for _ in range(count):
        flags = payload[at]
        column, at = _name(payload, at + 1)
        type_oid, _modifier = _COLUMN.unpack_from(payload, at)
        at += _COLUMN.size
        columns.append(Column(column, type_oid, flags & 1 == 1))
    # an empty name is how pg_catalog is sent
    return Relation(oid, schema or "pg_catalog", name, identity.decode("ascii"), tuple(columns))


def parse_type(payload: bytes) -> Type:
    (oid,) = _OID.unpack_from(payload)
    schema, at = _name(payload, 5)
    return Type(oid, schema or "pg_catalog", _name(payload, at)[0])


def parse_truncate(payload: bytes) -> list[bytes]:
    """The relations' OIDs, four bytes each, in the order sent: those that CASCADE reached are among them."""
    count, _options = _TRUNCATE.unpack_from(payload)
    if len(payload) != _TRUNCATE.size + 4 * count:
        raise MessageInvalid(f"{count} relations are announced in {len(payload)} bytes")
    return [payload[at : at + 4] for at in range(_TRUNCATE.size, len(payload), 4)]


def parse_message(payload: bytes) -> LogicalMessage:
    flags, lsn = _MESSAGE.unpack_from(payload)
    prefix, at = _name(payload, _MESSAGE.size)
    end = at + 4 + _LENGTH.unpack_from(payload, at)[0]
    if end != len(payload):
        raise MessageInvalid(f"its content ends at byte {end} of {len(payload)}")
    return LogicalMessage(flags & 1 == 1, lsn, prefix, payload[at + 4 :])


def parse_row(data: bytes, at: int = 6) -> Row:
    """The only row of a message: an insert's, a delete's, or an update's without an old one; it begins at `at`."""
    try:
        return _as_msgpack(data[at:]) if len(data) < _WIDE else _walk(data, at)[0]
    except UnicodeDecodeError:  # msgspec does not carry bytes that are no UTF-8
        return _walk(data, at)[0]


def parse_two_rows(data: bytes, at: int = 6) -> tuple[Row, Row]:
    """An update's old and new row; the old one begins at `at`."""
    (count,) = _COUNT.unpack_from(data, at)
    try:
        small = len(data) < _WIDE and count < _SMALL
        marker, old, new = _two_as_msgpack(data, at, count) if small else _walk_two(data, at)
    except UnicodeDecodeError:
        marker, old, new = _walk_two(data, at)
    if marker != NEW_ROW:
        raise MessageInvalid(f"expected the new row after {count} old values, found {marker!r}")
    return old, new


_WIDE = 2**16
_SMALL = 128
_decode_msgpack = msgspec.msgpack.Decoder(list[str | int]).decode


def _as_msgpack(counted: bytes) -> Row:
    """A row of less than 64 KiB, read by msgspec in a third of the time that `_walk` takes.

    MessagePack's array of strings is laid out as pgoutput's row: `dc` and a count of two bytes, then `db`, a length
    of four bytes and UTF-8 for each string; pgoutput has `t` in place of `db`, and its marks n and u are small
    integers there. A value holds no NUL and lengths stay below 64 KiB, so `t 00 00` stands at columns' beginnings
    only.
    """
    return _decode_msgpack(b"\xdc" + counted.replace(b"t\0\0", b"\xdb\0\0"))


def _two_as_msgpack(data: bytes, at: int, count: int) -> tuple[str | int, Row, Row]:
    """What stands between the rows, and both: N and two bytes of count are three small integers more in one array."""
    both = _as_msgpack(_COUNT.pack(2 * count + 3) + data[at + 2 :])
    return both[count], both[:count], both[count + 3 :]


def _walk_two(data: bytes, at: int) -> tuple[int, Row, Row]:
    old, end = _walk(data, at)
    return data[end], old, _walk(data, end + 1)[0]


def _walk(payload: bytes, at: int) -> tuple[Row, int]:
    """The row that begins (with its column count) at `at`, and where it ends."""
    (count,) = _COUNT.unpack_from(payload, at)
    at += 2
    row: Row = []
    for _ in range(count):
        kind = payload[at]
        at += 1
        if kind == _TEXT:
            end = at + 4 + _LENGTH.unpack_from(payload, at)[0]
            row.append(_text(payload, at + 4, end))
            at = end
        elif kind in (NULL, UNCHANGED):
            row.append(kind)
        else:
            raise MessageInvalid(
                f"a column of kind {kind:#04x} at byte {at - 1}; text, null or unchanged were asked"
            )
    return row, at


def _text(payload: bytes, start: int, end: int) -> str:
    if end > len(payload):
        raise MessageInvalid(f"a value ends at byte {end} of {len(payload)}")
    return payload[start:end].decode("utf-8", KEPT)


def _name(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.index(0, at)
    return payload[at:end].decode(), end + 1
