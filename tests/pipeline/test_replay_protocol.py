"""Replay and discard (rule R11) without a server: operators crash, answers are lost, what was written comes late."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from eventbus.fence import Written
from eventbus.wire import parse_headers
from pipeline.dlq.replay import (
    Denied,
    Ended,
    Ending,
    Failed,
    FoundCopy,
    Gone,
    LetterMessage,
    Look,
    Marker,
    Pause,
    ReadLetter,
    ReadMarker,
    Replace,
    Request,
    SendCopy,
    Steps,
    StoredMarker,
    Wanted,
    WriteMarker,
    finish,
    settle_letter,
    token_prefix,
)
from pipeline.dlq.stored_letter import copy_of
from pipeline.dlq.tombstone import Tombstone, original_seq, read_tombstone
from tests.simulation.jetstream_model import WRONG_LAST_SEQUENCE, Draft, StreamModel

SEQ = 7
DELIVERY, MARKER, LETTER = (
    "deliveries.0.acme.orders",
    f"position.replay.acme.orders.{SEQ}",
    f"dlq.acme.orders.{SEQ}",
)
ID = "Bridge-Replay-Id"
EVENT = '{"id":  "shop:0/1:1", "after": {"cost": 1273.10, "big": 12345678901234567890123}}'


def letter(reason: str = "rejected", **more: Any) -> bytes:
    members = {"tenant": "acme", "route": "orders", "reason": reason, "delivery_id": "shop:0/1:1/acme/orders"}
    rest = json.dumps(members | {"delivery_seq": SEQ} | more)[1:]
    return f'{{"event":{EVENT},{rest}'.encode()


class World:
    """DELIVERIES and DLQ of one dead letter; what is sent may be carried out late, left, or without an answer."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.deliveries, self.dlq = StreamModel(), StreamModel()
        for _ in range(SEQ):
            self.deliveries.publish(Draft(DELIVERY, headers={"Bridge-Event-Id": "shop:0/1:1"}))
        self.dlq.publish(Draft(LETTER, letter(), {"Bridge-Event-Id": "shop:0/1:1"}))
        self.late: list[Callable[[], int]] = []
        self.number = 0
        self.seen: list[Ended] = []

    def token(self) -> str:
        self.number += 1
        return f"{token_prefix(SEQ)}{self.number}"

    @property
    def copies(self) -> list[int]:
        return [m.seq for m in self.deliveries.between(DELIVERY, SEQ, 10**9)]

    @property
    def tombstone(self) -> Tombstone | None:
        last = self.dlq.last(LETTER)
        return read_tombstone(last.headers, last.payload) if last else None

    def answer(self, request: Request) -> Any:
        match request:
            case ReadMarker():
                found = self.deliveries.last(MARKER)
                return found and StoredMarker(found.seq, msgspec.json.decode(found.payload, type=Marker))
            case ReadLetter():
                last = self.dlq.last(LETTER)
                return last and LetterMessage(last.seq, last.headers, last.payload)
            case Look(after, before):
                copies = [m for m in self.deliveries.between(DELIVERY, after, before) if ID in m.headers]
                return FoundCopy(copies[0].seq, copies[0].headers[ID]) if copies else None
            case Pause():
                return None
            case WriteMarker(marker, expected):
                return self.written(lambda: self.deliveries.publish(_marker(marker, expected)))
            case SendCopy(copy, fence):
                return self.written(lambda: self.send(Draft(DELIVERY, copy.payload, copy.headers), fence))
            case Replace(tombstone, expected, _):
                draft = Draft(LETTER, tombstone.encode(), tombstone.headers, expected, rollup=True)
                return self.written(lambda: self.dlq.publish(draft))

    def send(self, copy: Draft, fence: int) -> int:
        last = self.deliveries.last(MARKER)
        if fence != (last.seq if last else 0):
            return -WRONG_LAST_SEQUENCE
        return self.deliveries.publish(copy)

    def written(self, write: Callable[[], int]) -> Written:
        chance = self.random.random()
        if chance < 0.1:
            self.late.append(write)
            return Written(None)
        seq = write()
        if chance < 0.2:
            return Written(None)
        return Written(seq) if seq > 0 else Written(None, -seq)

    def something_late(self) -> None:
        if self.tombstone is not None and self.random.random() < 0.1:
            # the keeper's purge (rule R12)
            self.deliveries.purge(MARKER, self.deliveries.last_seq + 1)
        if self.late and self.random.random() < 0.3:
            self.late.pop(self.random.randrange(len(self.late)))()


def _marker(marker: Marker, expected: int) -> Draft:
    return Draft(MARKER, msgspec.json.encode(marker), {}, expected, rollup=True)


def steps(world: World, work: Steps) -> Iterator[Ending | None]:
    """One operator, from step to step; what it ends with comes last."""
    answer: Any = None
    try:
        while True:
            answer = world.answer(work.send(answer))
            yield None
    except StopIteration as end:
        yield end.value


def operators(world: World) -> None:
    """Several at once, for one letter; they crash anywhere. In the end one replays and is let through."""
    living: list[Iterator[Ending | None]] = []
    for _ in range(60):
        world.something_late()
        if world.random.random() < 0.2:
            verdict: Any = world.random.choice(["replayed", "replayed", "discarded"])
            living.append(steps(world, settle_letter(Wanted(verdict, "me", 1.0, 60), world.token)))
        if world.random.random() < 0.05 and (found := world.answer(ReadMarker())) is not None:
            living.append(steps(world, finish(found, world.token)))
        if living:
            one = world.random.choice(living)
            ending = next(one)
            if ending is not None:
                note(world, ending)
            if ending is not None or world.random.random() < 0.08:
                living.remove(one)
    last = steps(world, settle_letter(Wanted("replayed", "last", 1.0, 60), world.token))
    for ending in last:
        world.something_late()
        if ending is not None:
            note(world, ending)
    while world.late:
        world.late.pop()()


def note(world: World, ending: Ending) -> None:
    assert isinstance(ending, Ended | Gone | Failed), ending
    if isinstance(ending, Ended):
        world.seen.append(ending)


@pytest.mark.parametrize("first", range(0, 2_000, 500))
def test_a_letter_is_decided_once_whatever_crashes_and_whoever_asks(first: int) -> None:
    kinds = set()
    for seed in range(first, first + 500):
        world = World(seed)
        operators(world)
        tombstone = world.tombstone
        assert tombstone is not None, seed
        assert world.copies == ([] if tombstone.replayed is None else [tombstone.replayed]), (seed, tombstone)
        # nobody was ever told anything else
        told = {(seen.tombstone.verdict, seen.tombstone.replayed) for seen in world.seen}
        assert told == {(tombstone.verdict, tombstone.replayed)}, seed
        assert sum(seen.ours for seen in world.seen) <= 1, seed
        kinds.add(tombstone.verdict)
    assert kinds == {"replayed", "discarded"}


def run(world: World, work: Steps) -> Ending:
    return next(ending for ending in steps(world, work) if ending is not None)


class Quiet(World):
    """Nothing goes wrong."""

    def written(self, write: Callable[[], int]) -> Written:
        seq = write()
        return Written(seq) if seq > 0 else Written(None, -seq)


def replay(**more: Any) -> Wanted:
    return Wanted("replayed", "ana@erp", 5.0, 60, **more)


def test_the_copy_is_the_event_byte_for_byte_and_says_what_it_repeats() -> None:
    world = Quiet(1)
    ending = run(world, settle_letter(replay(), world.token))
    assert ending == Ended(Tombstone(SEQ + 2, "ana@erp", 5.0), ours=True)
    copy = world.deliveries.messages[SEQ + 2]
    assert copy.payload == EVENT.encode()
    assert copy.headers == {"Bridge-Event-Id": "shop:0/1:1", "Bridge-Replay": str(SEQ), ID: "replay-7-1"}
    again = run(world, settle_letter(replay(), world.token))
    assert again == Ended(Tombstone(SEQ + 2, "ana@erp", 5.0), ours=False)
    assert len(world.copies) == 1


def test_a_replay_of_a_replay_keeps_the_first_place() -> None:
    copy = copy_of({"Bridge-Replay": "3", "Bridge-Reason": "rejected", ID: "x"}, letter(), "y", new_key=False)
    assert copy.headers == {"Bridge-Replay": "3", ID: "y"}
    assert (original_seq(copy.headers, 99), original_seq({}, 99)) == (3, 99)


def test_a_new_key_is_refused_where_it_may_have_arrived() -> None:
    world = Quiet(1)
    world.dlq.publish(Draft(LETTER, letter("uncertain"), rollup=True))
    assert isinstance(run(world, settle_letter(replay(new_key=True), world.token)), Denied)
    assert world.copies == []
    assert run(world, settle_letter(replay(), world.token)) == Ended(
        Tombstone(SEQ + 3, "ana@erp", 5.0), ours=True
    )


def test_a_new_key_is_told_in_a_header() -> None:
    assert copy_of({}, letter(), "y", new_key=True).headers == {
        "Bridge-Replay": str(SEQ),
        "Bridge-Replay-Key": str(SEQ),
        ID: "y",
    }


def test_an_object_is_referred_to_again() -> None:
    headers = parse_headers(b"NATS/1.0\r\nBridge-Object: shop:0/1:1\r\n\r\n")
    copy = copy_of(headers, letter().replace(EVENT.encode(), b"null"), "y", new_key=False)
    assert (copy.payload, copy.headers["Bridge-Object"]) == (b"", "shop:0/1:1")


def test_a_payload_that_was_no_json_is_sent_as_it_was() -> None:
    body = letter().replace(EVENT.encode(), json.dumps('{no "json').encode())
    assert copy_of({}, body, "y", new_key=False).payload == b'{no "json'


def test_a_discard_sends_nothing_and_keeps_its_reason() -> None:
    world = Quiet(1)
    ending = run(
        world, settle_letter(Wanted("discarded", "ana@erp", 5.0, 60, note="a test order"), world.token)
    )
    assert ending == Ended(Tombstone(None, "ana@erp", 5.0, "a test order"), ours=True)
    assert world.copies == []


def test_the_keeper_finishes_a_replay_and_looks_only_once_at_an_idle_claim() -> None:
    world = Quiet(1)
    world.deliveries.publish(_marker(Marker("replay-7-a", lives_s=60, by="ana"), 0))
    found = world.answer(ReadMarker())
    assert run(world, finish(found, world.token)) == Gone()
    idle = world.answer(ReadMarker())
    assert (idle.marker.idle, idle.marker.verdict, idle.scan_from) == (True, None, idle.seq)
    world.deliveries.publish(Draft(DELIVERY, headers={ID: "replay-7-b"}))
    left = world.deliveries.last_seq
    world.deliveries.publish(
        _marker(Marker("replay-7-c", lives_s=60, by="ana", scan_from=idle.seq), idle.seq)
    )
    ending = run(world, finish(world.answer(ReadMarker()), world.token))
    assert ending == Ended(Tombstone(left, "ana"), ours=False)
    assert world.tombstone == Tombstone(left, "ana")


def test_a_refusal_that_waiting_does_not_mend_ends_it() -> None:
    class Refusing(World):
        def written(self, write: Callable[[], int]) -> Written:  # noqa: ARG002 — nothing is written
            return Written(None, 10058)

    world = Refusing(1)
    assert run(world, settle_letter(replay(), world.token)) == Failed(10058)
