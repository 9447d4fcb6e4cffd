"""What the router decides without I/O: the fan-out of an event, and where it may go on."""

import pytest

from eventbus.group_commit import Group
from eventbus.subjects import Subjects, lane_of
from pipeline.routing.fanout import Fanout, RoutedEvent, delivery_key
from pipeline.routing.position import RouterMark, RouterPosition, StreamsMade
from pipeline.routing.start import Begin, RouterFacts, Stop, behind_torn, decide_start

HEADERS = b"NATS/1.0\r\nBridge-Event-Id: s:0/1:1\r\nBridge-Backfill: r:1:0/1:1:[]\r\nNats-Batch-Id: c-1\r\nBridge-Object: o\r\n\r\n"


def test_a_delivery_copies_our_headers_and_never_the_servers() -> None:
    (group,) = Fanout(Subjects("ns"), 16).groups(RoutedEvent(7, HEADERS, b"{}"), [("acme", "r")])
    (message,) = group.messages
    assert message.subject == f"ns.deliveries.{lane_of('acme', 16)}.acme.r".encode()
    lines = message.headers.decode().split("\r\n")
    assert lines == [
        "Bridge-Event-Id: s:0/1:1",
        "Bridge-Object: o",
        "Bridge-Event-Seq: 7",
        "Bridge-Target: acme/r",
        "",
    ]
    headers = dict(line.split(": ") for line in lines if line)
    assert delivery_key(headers) == message.key == (7, "acme", "r")
    assert group.mark == RouterMark(7, "s:0/1:1")


def fan(targets: int, after: tuple[str, str] | None = None) -> list[Group[RouterMark]]:
    names = [(f"t{number:04}", "r") for number in range(targets)]
    return list(Fanout(Subjects(), 16).groups(RoutedEvent(7, HEADERS, b"{}"), names, after))


def test_each_delivery_of_an_event_but_the_last_leaves_its_cursor_by_name() -> None:
    groups = fan(3)
    assert [len(group.messages) for group in groups] == [1, 1, 1]
    assert [group.mark.cursor for group in groups] == [("t0000", "r"), ("t0001", "r"), None]
    assert fan(3, after=("t0001", "r")) == groups[2:]


MADE = StreamsMade("e1", "d1")


def position(seq: int = 5, cursor: str | None = None) -> RouterPosition:
    return RouterPosition(
        event_seq=seq, event_id="s:0/5:1", cursor=cursor, events_created="e1", deliveries_created="d1"
    )


@pytest.mark.parametrize(
    ("held", "facts"),
    [
        (position(), RouterFacts(StreamsMade("e2", "d1"), "s:0/5:1", has_deliveries=True)),
        (position(), RouterFacts(StreamsMade("e1", "d2"), "s:0/5:1", has_deliveries=True)),
        (position(), RouterFacts(MADE, None, has_deliveries=True)),
        (position(), RouterFacts(MADE, "s:0/6:1", has_deliveries=True)),
        (None, RouterFacts(MADE, None, has_deliveries=True)),
    ],
)
def test_a_router_stops_where_sequences_may_mean_something_else(
    held: RouterPosition | None, facts: RouterFacts
) -> None:
    assert isinstance(decide_start(held, facts), Stop)


def test_a_router_goes_on_behind_its_position_and_what_a_torn_batch_left() -> None:
    start = decide_start(position(cursor="a/r"), RouterFacts(MADE, "s:0/5:1", has_deliveries=True))
    assert start == Begin(RouterMark(5, "s:0/5:1", ("a", "r")))
    assert behind_torn(start.mark, (5, "b", "r"), "s:0/5:1") == RouterMark(5, "s:0/5:1", ("b", "r"))
    assert behind_torn(start.mark, (5, "a", "q"), "s:0/5:1") == start.mark
    assert behind_torn(RouterMark(5, "x"), (5, "b", "r"), "x") == RouterMark(5, "x")
    assert decide_start(None, RouterFacts(MADE, None, has_deliveries=False)) == Begin(RouterMark(0, ""))
