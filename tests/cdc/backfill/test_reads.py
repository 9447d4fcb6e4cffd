"""Reads as messages: cut into groups, taken up again behind any of them, and in their place among all events."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.backfill import reads
from cdc.backfill.changes import ReadRow
from cdc.backfill.key_values import KeyUnreadable, key_values
from cdc.backfill.label import Label, after_labels, parse_label
from cdc.backfill.pace import Pace
from cdc.backfill.reads import ReadEvents, Watermark
from cdc.catalogue_facts import Facts
from cdc.event_assembly import Origin, TableEvents
from cdc.event_id import order_key, place_id
from cdc.pgoutput import Column, Relation
from cdc.position import MOST_AGAIN, RunMark, Runs, run_of, with_run
from cdc.relations import Relations
from cdc.settings import TableSettings
from eventbus.event import HEADER_BACKFILL, HEADER_EVENT_ID
from eventbus.subjects import Subjects
from eventbus.wire import parse_headers

RELATION = Relation(
    1, "public", "items", "d", (Column("id", 20, identity=True), Column("note", 25, identity=False))
)


def events(route: str | None = None) -> ReadEvents:
    table = Relations({"public.items": TableSettings()}).table(RELATION, Facts())
    assert table is not None
    origin = Origin("shop", "db", 2, Subjects())
    return ReadEvents(origin, TableEvents(table, origin, msgspec.UNSET), route)  # type: ignore[arg-type]  # no tenants


def rows(numbers: range) -> list[ReadRow]:
    return [ReadRow((str(n), 'a:"é'), f'{{"id":{n}}}', None, f'{{"id":{n},"note":"x"}}') for n in numbers]


def headers_of(message: Any) -> dict[str, str]:
    return parse_headers(b"NATS/1.0\r\n" + message.headers + b"\r\n")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), st.data())
def test_behind_any_torn_batch_each_row_follows_once(count: int, most: int, data: Any) -> None:
    before = RunMark("run", n=3, cursor=("0",), again=("k",))
    runs: Runs = (before, RunMark("other", n=7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads, "GROUP_EVENTS", most)
        watermark = Watermark(0x500, 0)
        after = msgspec.structs.replace(before, cursor=("end",), finished=True)
        groups = list(events().groups(rows(range(count)), watermark, before, after))
    messages = [message for group, _ in groups for message in group]
    assert [message.key for message in messages] == [(0x500, 0, 4 + n) for n in range(count)]
    assert groups[-1][1] == msgspec.structs.replace(after, n=3 + count)
    marks = [mark for _, mark in groups]
    # the position holds some of the groups; of the batch behind it a part is stored
    held = data.draw(st.integers(0, len(groups) - 1))
    runs = runs if held == 0 else with_run(runs, marks[held - 1])
    stored = sum(len(group) for group, _ in groups[:held])
    torn = data.draw(st.integers(stored, count))
    labels = [headers_of(message)[HEADER_BACKFILL] for message in messages[stored:torn]][-1:]
    found = run_of(after_labels(runs, labels, 2), "run")
    assert (found.n, found.again) == (3 + torn, ("k",))
    assert found.cursor == (rows(range(count))[torn - 1].cursor if torn else ("0",)) or found.finished
    assert after_labels(runs, labels, 1) == runs  # another epoch's
    assert run_of(after_labels(runs, labels, 2), "other").n == 7


def test_a_looked_up_row_does_not_move_the_cursor() -> None:
    before = RunMark("run", n=1, cursor=("50",), again=("k",))
    after = msgspec.structs.replace(before, again=())
    ((messages, mark),) = events().groups(rows(range(1)), Watermark(9, 0), before, after)
    assert mark == RunMark("run", n=2, cursor=("50",))
    assert parse_label(headers_of(messages[0])[HEADER_BACKFILL]).cursor == ("50",)


def test_a_reads_place_is_its_watermark() -> None:
    ((messages, _),) = events("acme/r").groups(
        rows(range(1)), Watermark(0x16B3748, 1), RunMark("r"), RunMark("r")
    )
    headers = headers_of(messages[0])
    assert headers[HEADER_EVENT_ID] == "shop@2:br:1"
    assert place_id(headers) == "shop@2:0/16B3748:0"
    assert order_key(headers, 2) == messages[0].key == (0x16B3748, 0, 1)
    assert order_key(headers, 3) == (0, 0)
    assert (0x16B3748, 0) < messages[0].key < (0x16B3748, 1)
    assert order_key({HEADER_EVENT_ID: "shop:0/9:4"}, 1) == (9, 4)
    assert json.loads(messages[0].payload)["source"]["commit_ts"] == "1970-01-01T00:00:00.000001Z"


def test_labels_hold_any_key() -> None:
    label = Label("run", 1, 5, 3, ('a:"b\r\n', "é", ""))
    assert label.text().isascii()
    assert "\n" not in label.text()
    assert parse_label(label.text()) == label


def test_keys_are_written_back_as_postgresql_reads_them() -> None:
    key = '{"n":1.50,"t":"a\\"é","b":true,"raw":"3q0="}'
    assert key_values(key, [("raw", 17), ("t", 25), ("n", 1700), ("b", 16)]) == (
        "\\xdead",
        'a"é',
        "1.50",
        "true",
    )
    with pytest.raises(KeyUnreadable):
        key_values('{"a":[1]}', [("a", 1007)])


def test_too_many_keys_to_look_up_begin_the_table_again() -> None:
    mark = RunMark("r", "public.items", n=5, cursor=("9",), until=("99",))
    assert mark.with_again(["a", "a"]).again == ("a",)
    begun = mark.with_again(map(str, range(MOST_AGAIN + 1)))
    assert (begun.n, begun.cursor, begun.until, begun.again) == (5, (), (), ())
    # a position is one message, whatever the keys are
    long = [f"{n}" * 2_000 for n in range(1, 10)]
    assert len(mark.with_again(long).again) == 9
    assert mark.with_again([*long, *(f"{key}!" for key in long)]).again == ()


def test_a_chunk_fits_its_bytes_and_the_rate() -> None:
    pace = Pace(900, None)
    pace.took(100, 10_000, 0.0)
    assert pace.rows == 200
    pace.took(200, 200 * 2**20, 0.0)
    assert (pace.rows, pace.wait(0.0), pace.slower()) == (1, 0.0, False)
    slow = Pace(900, 50)
    assert slow.rows == 50
    slow.took(50, 1_000, 10.0)
    assert (slow.rows, slow.wait(10.25)) == (50, 0.75)
