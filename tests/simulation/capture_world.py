"""Captures in the writers' world: a server whose WAL grows, and nobody's change may be missing, twice or out of order.

What is simulated runs for real: tenure, decoder, stream, pulse and group commit, each task one step at a time, as the
seed chooses. Only the connections are models, and `FencedWriter`'s loop is `SimulatedWriter.perform`.
"""

from bisect import bisect_left
from collections.abc import Generator
from typing import Any
from unittest.mock import patch

import msgspec

from cdc.position import Position, decode_position
from cdc.start_decision import Consent, Stop
from eventbus import fence
from eventbus.fence import Stored, Write
from tests.simulation.jetstream_model import ModelMessage
from tests.simulation.postgres_model import Key, Server
from tests.simulation.simulated_capture import GROUP_EVENTS, SILENT, SimulatedCapture, place_of
from tests.simulation.writer_world import POSITION, Connection, Rules, World, position_draft

SYNC_INTERVAL = 5.0


class CaptureWorld(World):
    """One run.

    loses: what a loss of power takes, beside what is under way; eager: how much the processes do while what they sent
    is on its way; late: how soon that arrives which was sent on a closed connection; big: how many groups wait for the
    object store.
    """

    def __init__(self, seed: int, rules: Rules, records: int = 14) -> None:
        super().__init__(seed, rules, total=10**9)
        self.torn = self.random.choice((0.1, 0.7))
        self.eager = self.random.choice((0.45, 0.6, 0.8))
        self.late = self.random.choice((1.0, 0.2, 0.05))
        self.big = self.random.choice((0.0, 0.1, 0.6))
        self.server = Server(self.random)
        self.now = 0.0
        self.left = records
        self.loses = self.random.choice((None, None, "what is not synced", "anything"))
        self.sync_interval = 0.0 if self.loses is None else SYNC_INTERVAL
        self.expected: list[Key] = []
        self.excused: set[Key] = set()
        self.history: list[tuple[float, ModelMessage]] = []
        self.flushes: list[tuple[float, int]] = []
        """Of the positions that are stored: when, and what each says."""
        self.lost_for_ever = False
        """What was confirmed and is not stored any more."""
        self.lost_mark = False
        """Perhaps nothing says that the slot was dropped: it was lost, or there was no position to be marked yet."""
        self.consent = Consent()
        self.frozen: dict[int, int] = {}

    def run(self) -> None:
        """Chaos, then one capture in peace, which must publish and confirm everything."""
        with (
            patch("cdc.tenure._now", self.clock),
            patch("cdc.capture_stream._now", self.clock),
            patch("cdc.tenure.log", SILENT),
            patch("cdc.capture_stream.log", SILENT),
            patch("cdc.transaction_groups.GROUP_EVENTS", GROUP_EVENTS),
        ):
            lives = [self._lives() for _ in range(self.rivals)]
            for _ in range(self.random.randint(50, 700)):
                self._happen(lives)
            for life in lives:
                life.close()
            self._peace()

    def clock(self) -> float:
        return self.now

    def _peace(self) -> None:
        self.chaos = self.server.asks = False
        self.stream.capacity = 10**9
        while self.left:
            self._append()
        survivor = self._lives()
        for _ in range(4_000):
            next(survivor)
            for connection in self.connections:
                self._arrive(connection)
            if owner := self.server.owner:
                while owner.feedback:
                    self.server.take_feedback(owner)
            self.now += 0.2
            if self.server.slot.confirmed == self.server.end and not self._missing():
                survivor.close()
                return
        raise self.violated(
            f"stuck: {len(self._missing())} missing, {self.server.slot} of {self.server.end:x}"
        )

    def _missing(self) -> set[Key]:
        return set(self.expected) - self.excused - {place for _, place in self._events()}

    def _events(self) -> list[tuple[int, Key]]:
        events = (m for m in self.stream.messages.values() if m.subject != POSITION)
        return [(message.seq, place_of(message.headers)) for message in events]

    # what may happen between two steps

    def _happen(self, lives: list[Generator[None]]) -> None:
        self.now += self.random.choice((0.0, 0.01, 0.1, 0.5))
        choice = self.random.random()
        if choice < self.eager:
            self._step(lives)
        elif choice < 0.88:
            self.connections = [one for one in self.connections if one.open or one.sent]
            # the worst moment for what a dead process sent is when its successor's claim is on its way
            claiming = any(one.open and one.sent and not one.sent[0][1] for one in self.connections)
            soon = self.random.random() < (0.7 if claiming else self.late)
            if waiting := [one for one in self.connections if one.sent and (one.open or soon)]:
                connection = self.random.choice(waiting)
                self._arrive(connection)
                while connection.sent and not connection.open:
                    self._arrive(connection)  # what a dead process sent comes at once, and late
        elif choice < 0.93:
            self._append()
        elif choice < 0.95:
            if (owner := self.server.owner) and owner.feedback:
                self.server.take_feedback(owner)
        elif choice < 0.96:
            self.now += self.random.choice((3.0, 12.0, 40.0))
        else:
            self._fault(lives)

    def _step(self, lives: list[Generator[None]]) -> None:
        which = self.random.randrange(len(lives))
        if self.frozen.get(which, 0) > 0:
            self.frozen[which] -= 1
        else:
            next(lives[which])

    def _append(self) -> None:
        if self.left:
            self.left -= 1
            record = self.server.append()
            self.expected += record.events if record else ()

    def _fault(self, lives: list[Generator[None]]) -> None:
        which = self.random.randrange(len(lives))
        match self.random.randrange(13):
            case 0 | 1 | 9:
                lives[which].close()
                lives[which] = self._lives()
            case 2:
                self.stream.capacity = self.random.choice((len(self.stream.messages), 10**9, 10**9))
            case 3:
                self._restart_server()
            case 4 | 10 | 11 | 12:
                committing = [one for one in self.connections if one.sent and one.sent[-1][3]]
                self.random.choice(committing or self.connections or [Connection()]).open = False
            case 5 if self.server.owner:
                self.server.release(self.server.owner)
            case 6:
                self.frozen[which] = self.random.randint(20, 150)
                if self.server.owner and self.random.random() < 0.7:
                    self.server.release(self.server.owner)
            case 7 if not self.server.owner and self.random.random() < 0.3:
                self.server.advance()
            case 8 if not self.server.owner and self.random.random() < 0.3:
                self._drop_and_setup()

    def _restart_server(self) -> None:
        super()._restart_server()
        if self.loses is not None and self.random.random() < 0.7:
            self._lose_tail()

    def _lose_tail(self) -> None:
        """One replica, and the power fails."""
        synced = bisect_left(self.history, self.now - self.sync_interval, key=lambda entry: entry[0])
        least = 0 if self.loses == "anything" and self.random.random() < 0.3 else synced
        kept = self.random.randint(least, len(self.history))
        self.lost_mark |= kept < len(self.history)
        self.lost_for_ever |= kept < synced
        self.history = self.history[:kept]
        positions = [m for _, m in self.history if m.subject == POSITION][-1:]
        events = [m for _, m in self.history if m.subject != POSITION]
        self.stream.messages = {m.seq: m for m in sorted(events + positions, key=lambda m: m.seq)}
        self.stream.last_seq = kept
        self.flushes = [
            (at, decode_position(m.payload).mark.flush) for at, m in self.history if m.subject == POSITION
        ]

    def _drop_and_setup(self) -> None:
        """As `cdc.drop` does it: the mark is written under the fence."""
        self.server.make_anew()
        self.excuse()
        self.stream.capacity = 10**9  # it waits for room
        found = self.stream.last(POSITION)
        if found is None:
            self.lost_mark = True
            return
        position = msgspec.structs.replace(decode_position(found.payload), dropped=True)
        held = Stored.read(found.seq, found.payload)
        steps = fence.claim(held, lambda mark: position.encode(position.mark, mark, ""), self.new_id("drop-"))
        write = next(steps)
        assert isinstance(write, Write)
        self.stream.publish(position_draft(write.payload, write.expected))

    # what must hold

    def excuse(self) -> None:
        """The slot will not send what lies before its place, and somebody agreed to that."""
        self.excused |= {key for key in self.expected if key[0] < self.server.slot.confirmed}

    def claimed(self, consent: Consent) -> None:
        """A capture owns slot and position."""
        covered = self.flushes[-1][1]
        if consent != Consent() and (self.server.slot.moved or covered < self.server.slot.confirmed):
            self.excuse()
        self.consent = Consent()

    @property
    def may_ask(self) -> bool:
        """Somebody else moved the slot, or what was confirmed is lost: no capture can mend that by itself."""
        return self.server.slot.moved or self.lost_for_ever

    def stopped(self, stop: Stop, *, may_ask: bool) -> None:
        """A capture asks its operator. `may_ask`: when it looked at the slot."""
        self.excuse()
        match stop.code:
            case "gap" | "position_missing" if may_ask:
                self.consent = Consent(accept_gap=True)
            case "slot_reused" if may_ask:
                self.consent = Consent(new_epoch=True)
            case "other_database" if self.lost_mark:
                self.consent = Consent(new_epoch=True)
            case _:
                raise self.violated(f"stopped for nothing: {stop.code}, {stop.message}")

    def confirms(self, lsn: int) -> None:
        """A capture tells PostgreSQL that it may let go."""
        surely = self.now - self.sync_interval if self.sync_interval else self.now
        covered = max((flush for at, flush in self.flushes if at <= surely), default=0)
        if lsn > max(covered, self.server.slot.confirmed):
            raise self.violated(f"{lsn:x} is confirmed, what is stored covers only {covered:x}")

    def acknowledge(self, mark: Any) -> None:
        if mark.flush > max((flush for _, flush in self.flushes), default=0):
            raise self.violated(f"{mark} is acknowledged and not stored")

    def _stored(self, message: ModelMessage) -> None:
        if message.subject == POSITION:
            self._position_stored(decode_position(message.payload))
        else:
            self._event_stored(place_of(message.headers))
        self.history.append((self.now, message))

    def _position_stored(self, position: Position) -> None:
        before = next((m for _, m in reversed(self.history) if m.subject == POSITION), None)
        if before is not None:
            held = decode_position(before.payload)
            if held.epoch == position.epoch and position.mark.flush < held.mark.flush:
                raise self.violated(f"flush goes back from {held.flush} to {position.flush}")
        self.flushes.append((self.now, position.mark.flush))
        if position.publication_oid == self.server.slot.publication and not position.dropped:
            self.lost_mark = False
            self.lost_for_ever &= position.mark.flush < self.server.slot.confirmed

    def _event_stored(self, key: Key) -> None:
        before = next((m for _, m in reversed(self.history) if m.subject != POSITION), None)
        last = place_of(before.headers) if before else (0, 0)
        if key <= last:
            raise self.violated(f"{key} is stored after {last}")
        between = self.expected[bisect_left(self.expected, last) : bisect_left(self.expected, key)]
        if skipped := [one for one in between if one != last and one not in self.excused]:
            raise self.violated(f"{key} is stored after {last}, without {skipped}")

    def _lives(self) -> Generator[None]:
        while True:
            for _ in range(self.random.randrange(60) if self.chaos and self.rivals > 1 else 0):
                yield
            connection = Connection()
            self.connections.append(connection)
            capture = SimulatedCapture(self, connection)
            try:
                yield from capture.life()
            finally:
                connection.open = False
                if capture.postgres.walsender is not None:
                    self.server.release(capture.postgres.walsender)
            yield
