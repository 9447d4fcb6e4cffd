import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.catalogue_facts import Facts, FactsWanted, TypeFacts
from cdc.decoder import DecodingFailed, Note
from cdc.pgoutput import UNCHANGED
from cdc.replication_frames import Keepalive
from cdc.settings import TableSettings
from eventbus.event import decode_event
from tests.cdc.pgoutput_stream import (
    COLUMNS,
    DESCRIBED,
    INT8,
    LSN,
    ORDERS,
    OTHER,
    TABLES,
    TEXT,
    asked,
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
    row,
    started,
    taken,
    truncate,
    update,
)


def test_an_insert_is_the_contracts_event() -> None:
    stream = started()
    feed(stream, begin(LSN), insert(ORDERS, "1", "47 11", 'say "hi"', None), commit(LSN))
    (outgoing,) = taken(stream)
    assert outgoing.payload.decode() == (
        '{"v":1,"id":"shop:0/16B3748:1","op":"insert","tenant":"47 11",'
        '"source":{"name":"shop","db":"shop_db","schema":"public","table":"orders",'
        '"lsn":"0/16B3700","commit_lsn":"0/16B3748","ordinal":1,"xid":754,"commit_ts":"2026-11-19T03:28:19.832462Z"},'
        '"key":{"id":1},"before":null,"after":{"id":1,"company":"47 11","status":"say \\"hi\\"","photo":null}}'
    )
    assert outgoing.subject == b"events.shop.47=2011.public.orders.insert"
    assert outgoing.headers == b"Bridge-Event-Id: shop:0/16B3748:1\r\n"
    assert outgoing.key == (LSN, 1)


def test_a_later_epoch_joins_the_id() -> None:
    stream = decoder(TABLES, epoch=2)
    feed(stream, *DESCRIBED, begin(LSN), insert(ORDERS, "1", "7", "", ""), commit(LSN))
    assert events(stream)[0]["id"] == "shop@2:0/16B3748:1"


def test_every_change_takes_an_ordinal_wanted_or_not() -> None:
    stream = started()
    feed(
        stream,
        message(transactional=False),
        begin(LSN),
        b"O" + bytes(8) + b"from another node\0",
        insert(OTHER, "1"),
        message(transactional=True),
        truncate(OTHER, ORDERS),
        update(OTHER, ["1"]),
        delete(OTHER, "1"),
        insert(ORDERS, "1", "7", "", ""),
        commit(LSN),
    )
    assert [(e["op"], e["source"]["ordinal"]) for e in events(stream)] == [("truncate", 4), ("insert", 7)]


def test_a_truncate_is_for_no_tenant() -> None:
    stream = started()
    feed(stream, begin(LSN), truncate(ORDERS), commit(LSN))
    (outgoing,) = taken(stream)
    assert outgoing.subject == b"events.shop._.public.orders.truncate"
    assert b'"tenant":null' in outgoing.payload
    assert outgoing.payload.endswith(b'"key":null,"before":null,"after":null}')


def test_an_update_has_before_only_where_the_old_row_was_sent() -> None:
    stream = started()
    feed(
        stream,
        begin(LSN),
        update(ORDERS, ["1", "7", "b", "p"]),
        update(ORDERS, ["2", "7", "b", "p"], old=["1", None, None, None]),
        commit(LSN),
    )
    plain, new_key = events(stream)
    assert (plain["before"], plain["key"]) == (None, {"id": 1})
    assert (new_key["before"], new_key["key"]) == ({"id": 1}, {"id": 2})
    assert "identity" not in new_key


def test_before_holds_the_identitys_columns_alone_and_names_them() -> None:
    stream = started("id", "company", "status")
    feed(stream, begin(LSN), update(ORDERS, ["1", "7", "b", "p"], old=["1", "7", "a", None]), commit(LSN))
    (event,) = events(stream)
    assert event["op"] == "update"
    assert event["before"] == {"id": 1, "company": "7", "status": "a"}
    assert event["identity"] == ["id", "company", "status"]


def test_an_unchanged_value_is_absent_and_listed() -> None:
    stream = started()
    feed(stream, begin(LSN), update(ORDERS, ["1", "7", None, UNCHANGED]), commit(LSN))
    (event,) = events(stream)
    assert event["after"] == {"id": 1, "company": "7", "status": None}
    assert event["unchanged"] == ["photo"]


def test_an_unchanged_value_is_filled_from_the_whole_old_row() -> None:
    stream = started(*COLUMNS)
    old = ["1", "7", None, "large"]
    feed(stream, begin(LSN), update(ORDERS, ["1", "7", None, UNCHANGED], old, b"O"), commit(LSN))
    (event,) = events(stream)
    assert event["after"] == {"id": 1, "company": "7", "status": None, "photo": "large"}
    assert "unchanged" not in event


def test_an_unchanged_key_is_filled_from_the_old_one() -> None:
    stream = started()
    feed(
        stream,
        begin(LSN),
        update(ORDERS, [UNCHANGED, "7", "b", UNCHANGED], old=["5", None, None, None]),
        commit(LSN),
    )
    (event,) = events(stream)
    assert (event["key"], event["after"]) == ({"id": 5}, {"id": 5, "company": "7", "status": "b"})
    assert event["unchanged"] == ["photo"]


def test_a_key_that_the_row_does_not_tell_is_null() -> None:
    stream = started(tables={"public.orders": TableSettings("company", key=("status",))})
    feed(
        stream,
        begin(LSN),
        update(ORDERS, ["1", "7", UNCHANGED, ""]),
        delete(ORDERS, "1", None, None, None),
        commit(LSN),
    )
    assert [event["key"] for event in events(stream)] == [None, None]


def test_a_move_between_tenants_is_published_for_both() -> None:
    stream = started("id", "company")
    feed(
        stream,
        begin(LSN),
        update(ORDERS, ["1", "8", "b", "p"], old=["1", "7", None, None]),
        insert(ORDERS, "2", "8", "", ""),
        commit(LSN),
    )
    gone, arrived, third = events(stream)
    assert (gone["op"], gone["tenant"], gone["before"], gone["after"]) == (
        "delete",
        "7",
        {"id": 1, "company": "7"},
        None,
    )
    assert (arrived["op"], arrived["tenant"], arrived["before"]) == ("insert", "8", None)
    assert [e["source"]["ordinal"] for e in (gone, arrived, third)] == [1, 2, 3]


def test_a_tenant_that_is_null_or_not_told_is_counted() -> None:
    stream = started()
    feed(
        stream,
        begin(LSN),
        insert(ORDERS, "1", None, "", ""),
        delete(ORDERS, "1", None, None, None),
        commit(LSN),
    )
    assert [m.subject.split(b".")[2] for m in taken(stream)] == [b"~", b"~"]
    assert stream.unknown_tenants == {"public.orders": 2}


def test_a_table_without_tenants_has_a_token_of_its_own() -> None:
    stream = started(tables={"public.orders": TableSettings(None)})
    feed(
        stream,
        begin(LSN),
        insert(ORDERS, "1", None, "", ""),
        update(ORDERS, ["2", "7", "", ""], old=["1", None, None, None]),
        delete(ORDERS, "1", None, None, None),
        commit(LSN),
    )
    assert [m.subject for m in taken(stream)] == [
        b"events.shop._.public.orders.%b" % op for op in (b"insert", b"update", b"delete")
    ]
    assert not stream.unknown_tenants


def test_a_relation_without_its_tenant_column_has_unknown_tenants() -> None:
    stream = started(tables={"public.orders": TableSettings("added_later")})
    feed(stream, begin(LSN), insert(ORDERS, "1", "7", "", ""), commit(LSN))
    assert taken(stream)[0].subject == b"events.shop.~.public.orders.insert"


def test_excluded_columns_never_appear() -> None:
    stream = started(
        *COLUMNS, tables={"public.orders": TableSettings("company", exclude=("photo", "status"))}
    )
    feed(
        stream,
        begin(LSN),
        update(ORDERS, ["1", "7", "secret", "secret"], ["1", "7", "secret", "x"], b"O"),
        commit(LSN),
    )
    (outgoing,) = taken(stream)
    assert b"secret" not in outgoing.payload
    assert b"photo" not in outgoing.payload


def test_rows_are_read_as_the_last_relation_message_described_them() -> None:
    stream = started()
    feed(
        stream,
        begin(LSN),
        insert(ORDERS, "1", "7", "", ""),
        relation(ORDERS, "orders", {"id": TEXT, "company": TEXT, 'odd "{}\\ñ': INT8}, key=["id"]),
        insert(ORDERS, "x", "7", "5"),
        relation(ORDERS, "renamed", COLUMNS, key=["id"]),
        insert(ORDERS, "1", "7", "", ""),
        commit(LSN),
    )
    _, second = events(stream)
    assert second["after"] == {"id": "x", "company": "7", 'odd "{}\\ñ': 5}


def test_the_catalogue_is_asked_for_types_once() -> None:
    stream = decoder(TABLES)
    columns = {"id": INT8, "company": TEXT, "scores": 70_000, "mood": 70_002}
    wanted = asked(stream, relation(ORDERS, "orders", columns, key=["id"]))
    assert wanted == FactsWanted(0, (70_000, 70_002))
    stream.learn(
        Facts(
            types={
                70_000: TypeFacts(70_000, "_score", "b", 0, 70_001, ","),
                70_001: TypeFacts(70_001, "score", "d", INT8, 0, ","),
            }
        )
    )
    feed(stream, relation(ORDERS, "orders", columns, key=["id"]), begin(LSN))
    feed(stream, insert(ORDERS, "1", "7", "{1,2}", "fine"), commit(LSN))
    assert events(stream)[0]["after"] == {"id": 1, "company": "7", "scores": [1, 2], "mood": "fine"}


def test_frames_are_taken_up_to_what_asks_for_something() -> None:
    stream = started()
    keepalive = b"k" + struct.pack(">QqB", LSN + 48, 5, 1)
    frames = iter([frame(payload) for payload in inserts(2)] + [keepalive, frame(begin(LSN + 100))])
    assert stream.feed(frames) == Keepalive(LSN + 48, 5, reply=True)
    assert len(events(stream)) == 2
    assert stream.between_transactions
    assert stream.feed(frames) is None
    assert not stream.between_transactions


@pytest.mark.parametrize("frame", [b"", b"w", b"w" + bytes(24), b"k" + bytes(16), b"x" + bytes(30)])
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodingFailed):
        decoder(TABLES).feed(iter([frame]))


def test_every_message_that_is_cut_short_is_refused() -> None:
    for payload in (
        insert(ORDERS, "1", "7", "some text", None),
        insert(ORDERS, "1", "7", "some text", "x" * 70_000),
        update(ORDERS, ["1", "7", "", None], old=["1", "7", None, None]),
        delete(ORDERS, "1", None, None, None),
        truncate(ORDERS),
    ):
        for length in [*range(1, min(len(payload), 60)), len(payload) - 1]:
            stream = started("id", "company")
            feed(stream, begin(LSN))
            with pytest.raises(DecodingFailed):
                feed(stream, payload[:length])


@given(tag=st.sampled_from("BCORYIUDTM"), rest=st.binary(max_size=60), known=st.booleans())
@example(tag="B", rest=b"\0" * 8 + b"\x7f" + b"\xff" * 11, known=False)  # a time beyond year 9999
def test_whatever_comes_is_understood_or_refused(*, tag: str, rest: bytes, known: bool) -> None:
    stream = started("id", "company")
    if tag != "B":
        feed(stream, begin(LSN))
    with contextlib.suppress(DecodingFailed):
        asked(stream, tag.encode() + (ORDERS.to_bytes(4) if known else b"") + rest)


@pytest.mark.parametrize(
    ("payloads", "says"),
    [
        ([b"P\0"], "Prepare .*not of protocol version 2"),
        ([b"?"], "unknown message"),
        ([b""], "cannot be decoded"),
        ([insert(ORDERS, "1", "7", "", "")], r"Insert .*0/16B3700.*public\.orders.*outside a transaction"),
        ([begin(LSN), begin(LSN + 1)], "within another transaction"),
        ([begin(LSN), commit(LSN + 1)], "ends a transaction at 0/16B3749"),
        ([begin(LSN), insert(99, "1")], "no relation message described relation 99"),
        ([begin(LSN), insert(ORDERS, "1", "7")], "values to unpack"),
        ([begin(LSN), b"I" + ORDERS.to_bytes(4) + b"K" + row(["1"] * 4)], "no row of kind 0x4b"),
        ([begin(LSN), b"I" + ORDERS.to_bytes(4) + b"N\0\4bbbb"], "a column of kind 0x62"),
    ],
)
def test_what_is_not_understood_stops_with_its_place(payloads: list[bytes], says: str) -> None:
    stream = started()
    feed(stream, *payloads[:-1])
    with pytest.raises(DecodingFailed, match=says):
        feed(stream, payloads[-1])


def test_an_error_holds_no_value() -> None:
    stream = started()
    feed(stream, relation(ORDERS, "orders", {"id": INT8, "company": TEXT, "raw": 17}, key=["id"]), begin(LSN))
    with pytest.raises(DecodingFailed) as failed:
        feed(stream, insert(ORDERS, "1", "7", r"\xsecret"))
    assert "secret" not in str(failed.value)


def test_a_message_of_ours_outside_transactions_is_handed_on() -> None:
    stream = started()
    assert asked(stream, message(transactional=False, lsn=7, prefix="bridge.heartbeat")) == Note(
        "bridge.heartbeat", 7, b"x"
    )
    assert asked(stream, message(transactional=False, lsn=8, prefix="somebody.else")) is None


@pytest.mark.parametrize("more", [0, 2**16], ids=["small", "large"])
def test_bytes_that_are_no_text_do_not_stop_capture(more: int) -> None:
    """Up to version 15 a "char" from 0x80 on comes as that byte; from 16 on, and in events, as an octal escape."""
    stream = started()
    columns = {"id": INT8, "company": 18, "texts": 1009, "doc": 114, "note": TEXT}
    feed(stream, relation(ORDERS, "orders", columns, key=["id"]), begin(LSN))
    row = ["2", "~", '{"a~\\"",~}', '["~~"]', "x" * more]
    feed(stream, insert(ORDERS, *row).replace(b"~", b"\xe9"))
    feed(stream, update(ORDERS, row, ["1", None, None, None, None]).replace(b"~", b"\xe9"), commit(LSN))
    found = taken(stream)
    assert [b".=5C351." in outgoing.subject for outgoing in found] == [True, True]
    for event in map(decode_event, (outgoing.payload for outgoing in found)):
        assert event["tenant"] == event["after"]["company"] == r"\351"
        assert (event["after"]["texts"], event["after"]["doc"]) == ([r'a\351"', r"\351"], [r"\351\351"])
