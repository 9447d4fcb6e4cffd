"""The decoder of wal2json's messages, on messages built by hand."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cdc.decoder import DecodingFailed, Note
from cdc.described_tables import NotConfigured
from cdc.event_assembly import Origin
from cdc.named_facts import ColumnFacts, NamedFacts, TableWanted
from cdc.position import FINISHED, Mark
from cdc.replication_frames import Keepalive
from cdc.settings import TableSettings
from cdc.wal2json_decoder import Wal2jsonDecoder
from eventbus.event import decode_event
from eventbus.lsn import format_lsn
from eventbus.subjects import Subjects
from tests.cdc.pgoutput_stream import LSN, NOTHING_YET, TABLES, frame

OIDS = {"id": 23, "company": 25, "status": 25, "photo": 25, "price": 1700, "older": 25}
COLUMNS = ("id", "company", "status", "photo")
NONE_THERE = NamedFacts()


def facts(*columns: str, identity: Sequence[str] = ("id",), **others: Any) -> NamedFacts:
    """Text may be stored out of line, and `price` is NOT NULL."""
    described = tuple(
        ColumnFacts(name, OIDS[name], generated=False, not_null=name == "price", out_of_line=OIDS[name] == 25)
        for name in columns
    )
    return NamedFacts(16_400, lineage=(), columns=described, identity=tuple(identity), key=("id",), **others)


FACTS = facts(*COLUMNS)


def begin(lsn: int = LSN) -> bytes:
    return _message("B", xid=754, timestamp="2026-11-19 03:28:19.83+00", lsn=format_lsn(lsn))


def commit(lsn: int = LSN) -> bytes:
    return _message("C", xid=754, lsn=format_lsn(lsn), nextlsn=format_lsn(lsn + 48))


def insert(row: Mapping[str, Any], table: str = "orders") -> bytes:
    return _change("I", table, columns=row)


def update(row: Mapping[str, Any], old: Mapping[str, Any], table: str = "orders") -> bytes:
    return _change("U", table, columns=row, identity=old)


def delete(old: Mapping[str, Any], table: str = "orders") -> bytes:
    return _change("D", table, identity=old)


def truncate(table: str) -> bytes:
    return _message("T", schema="public", table=table)


def said(content: str, *, transactional: bool, prefix: str = "bridge.heartbeat", lsn: int = LSN) -> bytes:
    return _message("M", lsn=format_lsn(lsn), transactional=transactional, prefix=prefix, content=content)


def _change(action: str, table: str, **rows: Mapping[str, Any]) -> bytes:
    members = {
        name: [{"name": column, "typeoid": OIDS[column], "value": value} for column, value in row.items()]
        for name, row in rows.items()
    }
    return _message(action, schema="public", table=table, **members, pk=[{"name": "id", "typeoid": 23}])


def _message(action: str, **members: Any) -> bytes:
    return json.dumps({"action": action, **members}, ensure_ascii=False, separators=(",", ":")).encode()


def row(id_: int = 1, company: str = "7", status: str = "open", photo: str | None = None) -> dict[str, Any]:
    return {"id": id_, "company": company, "status": status, "photo": photo}


class Stream:
    """A decoder, and what the catalogue answers it, by table."""

    def __init__(
        self,
        resume_after: Mark = NOTHING_YET,
        tables: Mapping[str, TableSettings] = TABLES,
        outbox: str | None = None,
    ) -> None:
        origin = Origin("shop", "shop_db", 1, Subjects())
        self.decoder = Wal2jsonDecoder(origin, tables, resume_after, outbox)
        self.catalogue = {"orders": FACTS}
        self.asked: list[TableWanted] = []
        self.told: list[NotConfigured] = []

    def feed(self, *payloads: bytes) -> None:
        frames = iter([frame(payload) for payload in payloads])
        while (wanted := self.decoder.feed(frames)) is not None:
            assert isinstance(wanted, TableWanted)
            self.asked.append(wanted)
            told = self.decoder.learn(self.catalogue.get(wanted.name, NONE_THERE))
            if told is not None:
                self.told.append(told)

    def events(self) -> list[dict[str, Any]]:
        return [decode_event(message.payload) for group in self.decoder.take() for message in group.messages]


def test_an_insert_is_the_contracts_event() -> None:
    stream = Stream()
    stream.feed(begin(), insert(row(company="47 11", status='say "hi"')), commit())
    ((outgoing,),) = [group.messages for group in stream.decoder.take()]
    assert outgoing.payload.decode() == (
        '{"v":1,"id":"shop:0/16B3748:1","op":"insert","tenant":"47 11",'
        '"source":{"name":"shop","db":"shop_db","schema":"public","table":"orders",'
        '"lsn":"0/16B3700","commit_lsn":"0/16B3748","ordinal":1,"xid":754,"commit_ts":"2026-11-19T03:28:19.830000Z"},'
        '"key":{"id":1},"before":null,"after":{"id":1,"company":"47 11","status":"say \\"hi\\"","photo":null}}'
    )
    assert outgoing.subject == b"events.shop.47=2011.public.orders.insert"
    assert outgoing.key == (LSN, 1)


def test_the_catalogue_is_asked_once_for_a_table_and_its_columns() -> None:
    stream = Stream()
    stream.feed(
        begin(), insert(row(1)), insert(row(2)), update(row(2), {"id": 2}), delete({"id": 2}), commit()
    )
    assert [wanted.full_name for wanted in stream.asked] == ["public.orders"]
    assert stream.asked[0].types == (23, 25)
    assert [event["op"] for event in stream.events()] == ["insert", "insert", "update", "delete"]


def test_what_is_not_captured_counts() -> None:
    stream = Stream()
    stream.catalogue["other"] = facts("id")
    other = (insert({"id": 1}, "other"), truncate("other"), said("x", transactional=True))
    stream.feed(begin(), *other, insert(row(1)), *other, insert(row(2)), commit())
    assert [event["source"]["ordinal"] for event in stream.events()] == [4, 8]
    assert stream.told == []


@pytest.mark.parametrize("ordinal", [0, 1, 2, 3, FINISHED])
def test_a_transaction_is_taken_up_in_its_midst(ordinal: int) -> None:
    stream = Stream(Mark(LSN, ordinal, 0))
    stream.catalogue["other"] = facts("id")
    stream.feed(begin(), insert(row(1)), insert({"id": 1}, "other"), insert(row(3)), insert(row(4)), commit())
    places = [1, 3, 4]
    assert [event["source"]["ordinal"] for event in stream.events()] == [at for at in places if at > ordinal]


def test_an_old_row_that_repeats_the_new_one_was_not_sent() -> None:
    stream = Stream()
    stream.feed(begin(), update(row(1), {"id": 1}), update(row(2), {"id": 1}), commit())
    assert [event["before"] for event in stream.events()] == [None, {"id": 1}]


def test_under_full_it_was() -> None:
    stream = Stream()
    stream.catalogue["orders"] = facts(*COLUMNS, full=True, identity=())
    stream.feed(begin(), update(row(), row()), commit())
    (event,) = stream.events()
    assert (event["before"], event["identity"]) == (row(), list(COLUMNS))


def test_a_value_left_out_is_unchanged() -> None:
    stream = Stream()
    small = {"id": 1, "company": "7", "status": "open"}
    stream.feed(begin(), update(small, {"id": 1}), insert(row(2)), update(small, {"id": 1}), commit())
    events = stream.events()
    assert [event.get("unchanged") for event in events] == [["photo"], None, ["photo"]]
    assert [event["after"] for event in events] == [small, row(2), small]


def test_columns_that_came_later_are_not_said_to_be_unchanged() -> None:
    stream = Stream()
    stream.catalogue["orders"] = facts(*COLUMNS, "price")  # not out of line: it would have been sent
    stream.feed(begin(), update(row(), {"id": 1}), commit())
    assert [event.get("unchanged") for event in stream.events()] == [None]


def test_columns_as_the_stream_showed_them_go_before_the_catalogues() -> None:
    stream = Stream()
    stream.catalogue["orders"] = facts(*COLUMNS, "older")
    small = {"id": 1, "company": "7", "status": "open"}
    stream.feed(begin(), insert(row()), update(small, {"id": 1}), commit())
    assert [event.get("unchanged") for event in stream.events()] == [None, ["photo"]]


def test_a_column_of_the_past_that_is_gone_today() -> None:
    stream = Stream()
    past = {"id": 1, "company": "7", "older": "x"}
    stream.feed(begin(), insert(past), update(past, {"id": 1}), delete({"id": 1}), commit())
    assert [event["after"] for event in stream.events()] == [past, past, None]


def test_a_table_of_the_past_that_is_gone_today() -> None:
    stream = Stream()
    stream.catalogue.clear()
    stream.feed(begin(), insert(row()), update(row(2), {"id": 1}), delete({"id": 2}), commit())
    assert [(event["op"], event["key"], event.get("identity")) for event in stream.events()] == [
        ("insert", {"id": 1}, None),
        ("update", {"id": 2}, None),
        ("delete", {"id": 2}, None),
    ]


def test_an_identity_that_a_change_shows_goes_before_the_catalogues() -> None:
    stream = Stream()
    old = {"id": 1, "company": "7"}
    stream.feed(begin(), insert(row()), update(row(company="8"), old), insert(row(2)), commit())
    events = stream.events()
    assert [event["op"] for event in events] == ["insert", "delete", "insert", "insert"]
    assert [event.get("identity") for event in events] == [None, *[["id", "company"]] * 3]
    assert [event["tenant"] for event in events] == ["7", "7", "8", "7"]


def test_an_identity_that_became_full_is_sent_with_every_update() -> None:
    stream = Stream()
    stream.feed(begin(), insert(row()), update(row(), row()), commit())
    assert [event["before"] for event in stream.events()] == [None, row()]


def test_a_name_that_is_not_configured_is_told_where_a_captured_table_may_hide_behind_it() -> None:
    stream = Stream()
    stream.catalogue["renamed"] = facts("id", missing=("public.orders",))
    stream.catalogue["other"] = facts("id")
    changes = [insert({"id": 1}, name) for name in ("other", "renamed", "gone", "gone")]
    stream.feed(begin(), *changes, commit())
    assert stream.told == [
        NotConfigured("public.renamed", LSN, ("public.orders",)),
        NotConfigured("public.gone", LSN, ()),
    ]


def test_partitions_speak_as_the_topmost_that_is_configured() -> None:
    lineage = ("public.leaf", "public.orders", "public.root")
    stream = Stream(tables={**TABLES, "public.leaf": TableSettings()})
    stream.catalogue["leaf"] = NamedFacts(
        1, lineage=lineage, columns=FACTS.columns, identity=("id",), key=("id",)
    )
    stream.feed(begin(), insert(row(), "leaf"), truncate("leaf"), truncate("orders"), commit())
    found = [(event["op"], event["source"]["table"], event["source"]["ordinal"]) for event in stream.events()]
    assert found == [("insert", "orders", 1), ("truncate", "orders", 3)]


def test_notes_are_handed_on_and_other_messages_may_hold_anything() -> None:
    decoder = Stream().decoder
    binary = said("?", transactional=False, prefix="app").replace(b"?", b"\xff\xfe")
    frames = iter(
        [frame(binary), frame(said("ñ", transactional=False)), b"k" + struct.pack(">QqB", LSN, 5, 1)]
    )
    assert decoder.feed(frames) == Note("bridge.heartbeat", LSN, "ñ".encode())
    assert decoder.feed(frames) == Keepalive(LSN, 5, reply=True)
    ours = said("?", transactional=False).replace(b"?", b"\xff\xfe")
    assert decoder.feed(iter([frame(ours)])) == Note("bridge.heartbeat", LSN, b"\xff\xfe")


def test_bytes_that_are_no_utf_8_are_written_as_octal_escapes() -> None:
    stream = Stream()
    stream.feed(begin(), insert(row(status="caf?")).replace(b"?", b"\xe9"), commit())
    assert [event["after"]["status"] for event in stream.events()] == ["caf\\351"]


def test_a_changed_shape_is_told_and_an_unchanged_one_is_not() -> None:
    stream = Stream()
    small = {"id": 1, "company": "7", "status": "open"}
    wide = facts(*COLUMNS, "price")
    stream.feed(begin(), insert(row()), update(small, {"id": 1}), delete({"id": 1}), commit())
    assert stream.decoder.schema_changes == []
    stream.catalogue["orders"] = wide
    stream.feed(begin(), insert({**row(), "price": 1}), commit())
    assert [change.what for change in stream.decoder.schema_changes] == [("column price added",)]


def test_the_applications_messages_are_events() -> None:
    stream = Stream(outbox="bridge.outbox")
    content = '{"topic": "t", "tenant": "7", "key": 1, "payload": {"n": 1.50}}'
    lone = said(content, transactional=False, prefix="bridge.outbox", lsn=LSN - 8)
    stream.feed(lone, begin(), said(content, transactional=True, prefix="bridge.outbox"), commit())
    events = stream.events()
    assert [(event["op"], event["source"]["ordinal"], event["key"]) for event in events] == [
        ("message", 0, 1),
        ("message", 1, 1),
    ]
    stream.feed(begin(), said("?", transactional=True, prefix="bridge.outbox"), commit())
    assert [event["source"]["table"] for event in stream.events()] == ["invalid"]
    assert len(stream.decoder.invalid_messages) == 1


def test_null_in_a_number_that_is_never_null_is_counted() -> None:
    stream = Stream()
    stream.catalogue["orders"] = facts("id", "company", "price")
    priced = {"id": 1, "company": "7", "price": None}
    stream.feed(begin(), insert(priced), insert({**priced, "price": 1}), commit())
    assert stream.decoder.lost_values == {"public.orders.price": 1}


def test_numbers_as_text_are_numbers_all_the_same() -> None:
    stream = Stream()
    stream.catalogue["orders"] = facts("id", "company", "price")
    stream.feed(begin(), insert({"id": "1", "company": "7", "price": "1.50"}), commit())
    (event,) = stream.events()
    assert (event["key"], str(event["after"]["price"])) == ({"id": 1}, "1.50")


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([insert(row())], "outside a transaction"),
        ([begin(), begin()], "within another transaction"),
        ([begin(), commit(LSN + 8)], "it ends a transaction at 0/16B3750"),
        ([begin(), b'{"action":"X"}'], "action 'X' is not of format version 2"),
        ([begin(), b'{"action":"I"'], "cannot be decoded"),
        (
            [begin(), insert(row(status="secret")).replace(b'"name":"status"', b'"column":"status"')],
            "table public.orders",
        ),
    ],
)
def test_what_cannot_be_understood_stops_and_tells_no_values(payloads: list[bytes], message: str) -> None:
    with pytest.raises(DecodingFailed, match=message) as caught:
        Stream().feed(*payloads)
    assert "secret" not in str(caught.value)
