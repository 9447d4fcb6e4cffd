import json
from typing import Any

import pytest

from cdc.outbox import ContentInvalid, InvalidMessage, OutboxMessage, read_content
from cdc.position import FINISHED, Mark
from eventbus.event import decode_event
from tests.cdc.pgoutput_stream import (
    INT8,
    LSN,
    ORDERS,
    TABLES,
    TEXT,
    begin,
    commit,
    decoder,
    delete,
    events,
    feed,
    frame,
    insert,
    inserts,
    message,
    relation,
    started,
    taken,
    truncate,
    update,
)

OUTBOX, JSONB, TIMESTAMPTZ = 16_600, 3802, 1184
OUTBOX_COLUMNS = {
    "id": INT8,
    "tenant": TEXT,
    "topic": TEXT,
    "key": JSONB,
    "payload": JSONB,
    "created_at": TIMESTAMPTZ,
}
CLOSED = b'{"tenant": "4711", "topic": "work-order.closed", "key": {"id": 7}, "payload": {"cost": 1273.10}}'


def told(content: bytes, *, transactional: bool = True, lsn: int = LSN) -> bytes:
    return message(transactional=transactional, lsn=lsn, prefix="bridge.outbox", content=content)


def test_a_message_takes_its_transactions_next_ordinal() -> None:
    stream = started()
    feed(stream, begin(LSN), insert(ORDERS, "1", "7", "", ""), told(CLOSED), *inserts(1)[1:2], commit(LSN))
    row, sent, last = taken(stream)
    assert sent.subject == b"events.shop.4711.outbox.work-order=2Eclosed.message"
    assert sent.headers == b"Bridge-Event-Id: shop:0/16B3748:2\r\n"
    assert sent.payload.decode() == (
        '{"v":1,"id":"shop:0/16B3748:2","op":"message","tenant":"4711",'
        '"source":{"name":"shop","db":"shop_db","schema":"outbox","table":"work-order.closed",'
        '"lsn":"0/16B3700","commit_lsn":"0/16B3748","ordinal":2,"xid":754,"commit_ts":"2026-11-19T03:28:19.832462Z"},'
        '"key":{"id": 7},"before":null,"after":{"cost": 1273.10}}'
    )
    assert [m.key for m in (row, sent, last)] == [(LSN, 1), (LSN, 2), (LSN, 3)]


def test_one_outside_transactions_has_a_place_of_its_own() -> None:
    stream = started()
    feed(stream, told(CLOSED, transactional=False), *inserts(1, LSN))
    (group,) = stream.take()
    sent, row = (decode_event(m.payload) for m in group.messages)
    assert (sent["id"], row["id"]) == ("shop:0/16B3748:0", "shop:0/16B3748:1")
    assert sent["source"] | {"name": "", "db": ""} == {
        "name": "",
        "db": "",
        "schema": "outbox",
        "table": "work-order.closed",
        "lsn": "0/16B3748",
        "commit_lsn": "0/16B3748",
        "ordinal": 0,
        "xid": None,
        "commit_ts": "2000-01-01T00:00:00.000000Z",
    }


def test_one_outside_transactions_lets_go_of_wal_up_to_its_end() -> None:
    stream = started()
    feed(stream, *inserts(1, LSN - 100), told(CLOSED, transactional=False))
    (group,) = stream.take()
    assert len(group.messages) == 2
    assert group.mark == Mark(LSN, 0, LSN)


@pytest.mark.parametrize("mark", [Mark(LSN, 0, LSN), Mark(LSN, 1, LSN), Mark(LSN, FINISHED, LSN + 48)])
def test_one_that_was_published_is_not_published_again(mark: Mark) -> None:
    stream = started(resume_after=mark)
    feed(stream, told(CLOSED, transactional=False), *inserts(2, LSN))
    assert [e["source"]["ordinal"] for e in events(stream)] == [n for n in (1, 2) if n > mark.ordinal]


def test_one_behind_the_end_of_what_was_published_is() -> None:
    stream = started(resume_after=Mark(LSN - 100, FINISHED, LSN - 52))
    feed(stream, *inserts(2, LSN - 100), told(CLOSED, transactional=False))
    assert [e["id"] for e in events(stream)] == ["shop:0/16B3748:0"]


def test_an_older_one_does_not_end_the_transaction_that_is_half_published() -> None:
    stream = started(resume_after=Mark(LSN, 1, LSN - 200))
    feed(stream, told(CLOSED, transactional=False, lsn=LSN - 100), begin(LSN))
    assert stream.take() == []


def test_of_a_published_transaction_it_only_counts() -> None:
    stream = started(resume_after=Mark(LSN, 1, 0))
    feed(stream, begin(LSN), told(b"no JSON"), told(CLOSED), commit(LSN))
    assert [e["id"] for e in events(stream)] == ["shop:0/16B3748:2"]


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ({"topic": "t"}, OutboxMessage(None, "t", "null", "null")),
        (
            {"topic": "t", "tenant": None, "key": None, "payload": None, "more": 1},
            OutboxMessage(None, "t", "null", "null"),
        ),
        ({"topic": "t", "tenant": 4711, "key": [1, "a"]}, OutboxMessage("4711", "t", '[1, "a"]', "null")),
        ({"topic": "ñ. *", "tenant": "", "payload": "x"}, OutboxMessage("", "ñ. *", "null", '"x"')),
    ],
)
def test_what_a_message_says(content: object, read: OutboxMessage) -> None:
    assert read_content(json.dumps(content, ensure_ascii=False).encode()) == read


@pytest.mark.parametrize("number", ["1273.10", "1e300", "9" * 5000, "-0.0", "1" + "0" * 40 + ".5"])
def test_numbers_stay_as_they_are(number: str) -> None:
    assert read_content(f'{{"topic":"t","key":{number},"payload":{number}}}'.encode())[2:] == (number, number)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "required field `topic`"),
        (b'{"topic": ""}', "no topic"),
        (b'{"topic": null}', "Expected `str`"),
        (b'{"topic": "t", "tenant": 1.5}', r"got `float` - at `\$.tenant`"),
        (b'{"topic": "t", "tenant": true}', r"got `bool` - at `\$.tenant`"),
        (b'{"topic": "t", "payload": NaN}', "malformed"),
        (b'{"topic": "t", "payload": 1e99999999999999999999}', "not valid JSON"),
        (b'{"topic": "t", "payload": "\\ud800"}', "half of a surrogate pair"),
        (b'{"topic": "t", "payload": %b}' % (b"[" * 5000 + b"]" * 5000), "nests too deep"),
        (b'{"topic": "t"} x', "trailing"),
        (b'{"topic": "\xff"}', "not UTF-8"),
        (b"\x00\x01", "malformed"),
    ],
)
def test_what_cannot_be_understood_is_an_event_that_says_why(content: bytes, why: str) -> None:
    with pytest.raises(ContentInvalid, match=why) as invalid:
        read_content(content)
    stream = started()
    feed(stream, begin(LSN), told(content), told(CLOSED), commit(LSN))
    bad, good = taken(stream)
    assert bad.subject == b"events.shop.~.outbox.invalid.message"
    event = decode_event(bad.payload)
    assert (event["tenant"], event["key"], event["source"]["table"]) == (None, None, "invalid")
    text = content.decode() if b"\xff" not in content else "eyJ0b3BpYyI6ICL/In0="
    assert event["after"] == {"error": str(invalid.value), "content": text}
    assert stream.invalid_messages == [InvalidMessage("shop:0/16B3748:1", str(invalid.value))]
    assert decode_event(good.payload)["source"]["ordinal"] == 2


def test_a_topic_named_invalid_is_its_tenants_own() -> None:
    stream = started()
    feed(
        stream,
        begin(LSN),
        told(b'{"tenant": "~", "topic": "invalid"}'),
        told(b'{"topic": "invalid"}'),
        commit(LSN),
    )
    assert [m.subject.split(b".")[2] for m in taken(stream)] == [b"=7E", b"_"]


def outbox_rows(*payloads: bytes, columns: dict[str, int] = OUTBOX_COLUMNS) -> list[dict[str, Any]]:
    stream = decoder(TABLES, outbox="app.box")
    described = relation(OUTBOX, "box", columns, key=["id"]).replace(b"public", b"app", 1)
    assert stream.feed(iter([frame(described)])) is None
    feed(stream, begin(LSN), *payloads, commit(LSN))
    found = events(stream)
    assert len(stream.invalid_messages) == sum(e["source"]["table"] == "invalid" for e in found)
    return found


def test_an_inserted_row_is_a_message_and_pruning_it_is_none() -> None:
    first, second = outbox_rows(
        insert(
            OUTBOX,
            "1",
            "4711",
            "work-order.closed",
            '{"id": 7}',
            '{"cost": 1273.10}',
            "2026-11-24 03:28:19+00",
        ),
        update(OUTBOX, ["1", "4711", "work-order.closed", None, None, None]),
        update(OUTBOX, ["2", "", "", None, None, None], old=["1", None, None, None, None, None]),
        delete(OUTBOX, "1", None, None, None, None, None),
        truncate(OUTBOX),
        insert(OUTBOX, "2", None, "t", None, None, None),
    )
    same = {"op": "message", "tenant": "4711", "key": {"id": 7}, "before": None}
    assert {name: first[name] for name in same} == same
    assert first["source"]["table"] == "work-order.closed"
    assert str(first["after"]["cost"]) == "1273.10"
    assert (second["source"]["ordinal"], second["tenant"], second["key"], second["after"]) == (
        6,
        None,
        None,
        None,
    )


def test_columns_go_by_name_and_text_is_a_string() -> None:
    columns = {"payload": TEXT, "more": INT8, "topic": TEXT, "tenant": INT8, "id": INT8}
    (event,) = outbox_rows(insert(OUTBOX, '{"a"', "1", "t", "7", "1"), columns=columns)
    assert (event["tenant"], event["key"], event["after"]) == ("7", None, '{"a"')


@pytest.mark.parametrize("topic", [None, ""])
def test_a_row_without_a_topic_is_invalid(topic: str | None) -> None:
    (event,) = outbox_rows(insert(OUTBOX, "1", "7", topic, None, '{"a": 1}', None))
    assert event["source"]["table"] == "invalid"
    assert event["after"]["error"] == "it has no topic"
    assert json.loads(event["after"]["content"])["payload"] == {"a": 1}


def test_a_table_without_the_column_topic_makes_invalid_ones() -> None:
    (event,) = outbox_rows(insert(OUTBOX, "1"), columns={"id": INT8})
    assert event["after"]["content"] == '{"id":1}'
