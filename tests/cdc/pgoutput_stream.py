"""pgoutput's messages as a server would send them, built by hand."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdc.catalogue_facts import Facts, FactsWanted
from cdc.decoder import Decoder, Note
from cdc.event_assembly import Origin
from cdc.pgoutput import NULL
from cdc.position import Mark
from cdc.replication_frames import Keepalive
from cdc.settings import TableSettings
from cdc.streamed_transactions import StreamedCommit, StreamedTransaction, records
from eventbus.event import decode_event
from eventbus.group_commit import Outgoing
from eventbus.subjects import Subjects

TEXT, INT8 = 25, 20
NOTHING_YET = Mark(0, 0, 0)
NOTHING_KNOWN = Facts()


def name(text: str) -> bytes:
    return text.encode() + b"\0"


def row(values: Sequence[Any]) -> bytes:
    """None is NULL, an int a mark."""
    parts = [struct.pack(">H", len(values))]
    for value in values:
        mark = NULL if value is None else value
        if isinstance(mark, int):
            parts.append(bytes([mark]))
        else:
            text = mark.encode()
            parts.append(b"t" + struct.pack(">i", len(text)) + text)
    return b"".join(parts)


def begin(lsn: int, xid: int = 754) -> bytes:
    return b"B" + struct.pack(">QqI", lsn, 848_374_099_832_462, xid)


def commit(lsn: int) -> bytes:
    return b"C" + struct.pack(">BQQq", 0, lsn, lsn + 48, 848_374_099_832_462)


def relation(
    oid: int, table: str, columns: Mapping[str, int], key: Iterable[str] = (), identity: str = "d"
) -> bytes:
    described = [
        bytes([column in key]) + name(column) + struct.pack(">Ii", oid_, -1)
        for column, oid_ in columns.items()
    ]
    head = b"R" + struct.pack(">I", oid) + name("public") + name(table) + identity.encode()
    return head + struct.pack(">H", len(columns)) + b"".join(described)


def insert(oid: int, *values: Any) -> bytes:
    return b"I" + struct.pack(">I", oid) + b"N" + row(values)


def update(oid: int, new: list[Any], old: list[Any] | None = None, kind: bytes = b"K") -> bytes:
    before = b"" if old is None else kind + row(old)
    return b"U" + struct.pack(">I", oid) + before + b"N" + row(new)


def delete(oid: int, *values: Any, kind: bytes = b"K") -> bytes:
    return b"D" + struct.pack(">I", oid) + kind + row(values)


def truncate(*oids: int) -> bytes:
    return b"T" + struct.pack(f">IB{len(oids)}I", len(oids), 1, *oids)


def message(*, transactional: bool, lsn: int = 1, prefix: str = "app", content: bytes = b"x") -> bytes:
    head = b"M" + struct.pack(">BQ", transactional, lsn) + name(prefix)
    return head + struct.pack(">I", len(content)) + content


def stream_start(xid: int, *, first: bool = True) -> bytes:
    return b"S" + struct.pack(">IB", xid, first)


STREAM_STOP = b"E"


def stream_commit(xid: int, lsn: int) -> bytes:
    return b"c" + struct.pack(">IBQQq", xid, 0, lsn, lsn + 48, 848_374_099_832_462)


def stream_abort(xid: int, subxid: int) -> bytes:
    return b"A" + struct.pack(">II", xid, subxid)


def within(xid: int, payload: bytes) -> bytes:
    """A message as it stands in a block."""
    return payload[:1] + xid.to_bytes(4) + payload[1:]


def decoder(
    tables: Mapping[str, TableSettings],
    resume_after: Mark = NOTHING_YET,
    epoch: int = 1,
    outbox: str | None = None,
) -> Decoder:
    return Decoder(Origin("shop", "shop_db", epoch, Subjects()), tables, resume_after, outbox)


def frame(payload: bytes, wal_start: int = 0x16B3700) -> bytes:
    """An XLogData that carries a message."""
    return b"w" + struct.pack(">QQq", wal_start, wal_start, 0) + payload


def asked(stream: Decoder, *payloads: bytes) -> FactsWanted | Keepalive | Note | StreamedCommit | None:
    return stream.feed(iter([frame(payload) for payload in payloads]))


def feed(stream: Decoder, *payloads: bytes) -> None:
    """Only of a relation that is not configured anything may be asked: it is unknown to the catalogue too."""
    feed_frames(stream, map(frame, payloads))


def feed_frames(stream: Decoder, frames: Iterable[bytes], facts: Facts = NOTHING_KNOWN) -> None:
    """Answers whatever is asked with `facts`, and feeds what was streamed once it commits."""
    rest = iter(frames)
    while (wanted := stream.feed(rest)) is not None:
        if isinstance(wanted, StreamedCommit):
            feed_frames(stream, [wanted.begin, *kept(wanted.transaction), wanted.commit], facts)
        else:
            assert isinstance(wanted, FactsWanted)
            assert wanted.tables or facts is not NOTHING_KNOWN
            stream.learn(facts)


def kept(transaction: StreamedTransaction) -> list[bytes]:
    """The frames of a transaction of which nothing was stored elsewhere."""
    return records(bytes(transaction.tail))[0] if transaction.tail else []


def taken(stream: Decoder) -> list[Outgoing]:
    return [outgoing for group in stream.take() for outgoing in group.messages]


def events(stream: Decoder) -> list[dict[str, Any]]:
    return [decode_event(outgoing.payload) for outgoing in taken(stream)]


ORDERS, OTHER = 16_400, 16_500
COLUMNS = {"id": INT8, "company": TEXT, "status": TEXT, "photo": TEXT}
TABLES = {"public.orders": TableSettings("company")}
DESCRIBED = (
    relation(ORDERS, "orders", COLUMNS, key=["id"]),
    relation(OTHER, "other", {"id": INT8}, key=["id"]),
)
LSN = 0x16B3748


def started(*identity: str, resume_after: Mark = NOTHING_YET, tables: Any = TABLES) -> Decoder:
    """A stream whose table `orders` has the replica identity of these columns; just the key where none is named."""
    stream = decoder(tables, resume_after)
    feed(stream, *DESCRIBED)
    if identity:
        described = relation(ORDERS, "orders", COLUMNS, identity, "f" if len(identity) == 4 else "i")
        assert asked(stream, described) == FactsWanted(ORDERS, ())
        stream.learn(Facts(key=("id",)))
    return stream


def inserts(count: int, lsn: int = LSN) -> list[bytes]:
    return [begin(lsn), *(insert(ORDERS, str(n), "7", "", "") for n in range(count)), commit(lsn)]
