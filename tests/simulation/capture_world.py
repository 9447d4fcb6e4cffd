"""Captures in the writers' world: a server whose WAL grows, and nobody's change may be missing, twice or out of order.

What is simulated runs for real: tenure, decoder, stream, pulse and group commit, each task one step at a time, as the
seed chooses. Only the connections are models, and `FencedWriter`'s loop is `SimulatedWriter.perform`.
"""

from bisect import bisect_left
from collections.abc import Generator
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec

from cdc import capture_stream, tenure, transaction_groups, transaction_spool
from cdc.backfill import backfills, reads, table_run
from cdc.position import decode_position
from cdc.start_decision import Consent, Stop
from eventbus import fence
from eventbus.fence import Stored, Write
from tests.simulation.jetstream_model import ModelMessage
from tests.simulation.postgres_model import Server
from tests.simulation.simulated_backfill import ModelReader, rows_after, rows_again, some_run
from tests.simulation.simulated_capture import GROUP_EVENTS, SILENT, SimulatedCapture
from tests.simulation.spool_model import on_disk
from tests.simulation.steps import instead
from tests.simulation.stored_events import StoredEvents
from tests.simulation.writer_world import POSITION, Connection, Rules, World, position_draft

SYNC_INTERVAL = 5.0


class CaptureWorld(World):
    """One run.

    loses: what a loss of power takes, beside what is under way; eager: how much the processes do while what they sent
    is on its way; late: how soon that arrives which was sent on a closed connection; big: how many groups wait for the
    object store.
    """

    def __init__(self, seed: int, rules: Rules, records: int = 10) -> None:
        super().__init__(seed, rules, total=10**9)
        self.torn = self.random.choice((0.1, 0.7))
        self.eager = self.random.choice((0.45, 0.6, 0.8))
        self.late = self.random.choice((1.0, 0.2, 0.05))
        self.big = self.random.choice((0.0, 0.1, 0.6))
        self.server = Server(self.random, self.note)
        self.events = StoredEvents(self.chronicle, self.server)
        self.now = 0.0
        self.loses = self.random.choice((None, None, "what is not synced", "anything"))
        self.sync_interval = 0.0 if self.loses is None else SYNC_INTERVAL
        self.runs = {
            f"r{n}": some_run(self.random.choice((1, 2, 5)))
            for n in range(self.random.choice((0, 0, 0, 1, 2)))
        }
        """The records of the backfills."""
        self.calm = bool(self.runs) and self.random.random() < 0.7
        """Faults are rarer, so that a backfill gets on."""
        self.left = records + 10 * bool(self.runs)
        self.lost_for_ever = False
        """What was confirmed and is not stored any more."""
        self.lost_mark = False
        """Perhaps nothing says that the slot was dropped: it was lost, or there was no position to be marked yet."""
        self.consent = Consent()
        self.frozen: dict[int, int] = {}

    def run(self) -> None:
        """Chaos, then one capture in peace, which must publish and confirm everything."""
        with instead(self._of_this_run()):
            lives = [self._lives() for _ in range(self.rivals)]
            for _ in range(self.random.randint(50, 400)):
                self._happen(lives)
            for life in lives:
                life.close()
            self._peace()

    def _of_this_run(self) -> list[tuple[ModuleType, str, Any]]:
        """What the product takes from elsewhere: clocks, logs, the disk, SQL; and small limits."""
        reader = SimpleNamespace(open=lambda _source: ModelReader.open(self))
        return [
            *((module, "log", SILENT) for module in (tenure, capture_stream, backfills)),
            *((module, "_now", self.clock) for module in (tenure, capture_stream, backfills, table_run)),
            (transaction_groups, "GROUP_EVENTS", GROUP_EVENTS),
            (reads, "GROUP_EVENTS", GROUP_EVENTS),
            (transaction_spool, "MEMORY", 400),
            (transaction_spool, "SLICE", 150),
            (transaction_spool, "_on_disk", partial(on_disk, self)),
            (backfills, "TableReader", reader),
            (table_run, "rows_after", rows_after),
            (table_run, "rows_again", rows_again),
        ]

    def clock(self) -> float:
        return self.now

    def _peace(self) -> None:
        self.note(("peace",))
        self.chaos = self.server.asks = False
        self.stream.capacity = 10**9
        if not self.runs:
            self._end_work()
        while waiting := [one for one in self.connections if one.sent]:
            self._arrive(waiting[0])
        survivor, steps_idle, stored = self._lives(), 0, 0
        for _ in range(6_000):
            next(survivor)
            self._go_on()
            self._arrive(self.connections[-1])
            if owner := self.server.owner:
                while owner.feedback:
                    self.server.take_feedback(owner)
            steps_idle, stored = (
                (steps_idle + 1 if stored == self.stream.last_seq else 0),
                self.stream.last_seq,
            )
            # little is left but to wait for what is held back, and for keepalives
            self.now += 0.2 if steps_idle < 8 else 5.0
            if not self.left and self.server.slot.confirmed == self.server.end and not self._busy:
                survivor.close()
                all_read = any(record.state == "done" for record in self.runs.values())
                self.events.check_table(all_read=all_read)
                return
        open_ = [run for run, record in self.runs.items() if record.is_open]
        raise self.violated(
            "it ends",
            f"{self.events.missing()} missing, {self.server.slot} of {self.server.end:x}, {open_} go on",
        )

    def _go_on(self) -> None:
        """Peace is not silence: while rows are read they are changed."""
        choice = self.random.random()
        if choice < 0.06:
            self._append()
            if not self.left:
                self.server.end_all()
        elif choice < 0.1 and self.server.hidden:
            self.server.appear()

    def _end_work(self) -> None:
        while self.left:
            self._append()
        self.server.end_all()

    @property
    def _busy(self) -> bool:
        return any(record.is_open for record in self.runs.values()) or bool(self.events.missing())

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
        elif not self.calm or self.random.random() < 0.25:
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
            self.server.append()

    def _fault(self, lives: list[Generator[None]]) -> None:
        which = self.random.randrange(len(lives))
        match self.random.randrange(13):
            case 0 | 1 | 9:
                self.note((self.now, "crash of", which))
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
        history = self.events.history
        synced = bisect_left(history, self.now - self.sync_interval, key=lambda entry: entry[0])
        least = 0 if self.loses == "anything" and self.random.random() < 0.3 else synced
        kept = self.random.randint(least, len(history))
        self.lost_mark |= kept < len(history)
        self.lost_for_ever |= kept < synced
        self.events.keep_first(kept)
        self.note(("its last messages are lost:", len(history) - kept))
        positions = [m for _, m in self.events.history if m.subject == POSITION][-1:]
        events = [m for _, m in self.events.history if m.subject != POSITION]
        self.stream.messages = {m.seq: m for m in sorted(events + positions, key=lambda m: m.seq)}
        self.stream.last_seq = kept

    def _drop_and_setup(self) -> None:
        """As `cdc.drop` does it: the mark is written under the fence."""
        self.server.make_anew()
        self.events.excuse()
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

    def claimed(self, consent: Consent) -> None:
        """A capture owns slot and position."""
        covered = self.events.flushes[-1][1]
        if consent != Consent() and (self.server.slot.moved or covered < self.server.slot.confirmed):
            self.events.excuse()
        self.consent = Consent()

    @property
    def may_ask(self) -> bool:
        """Somebody else moved the slot, or what was confirmed is lost: no capture can mend that by itself."""
        return self.server.slot.moved or self.lost_for_ever

    def stopped(self, stop: Stop, *, may_ask: bool) -> None:
        """A capture asks its operator. `may_ask`: when it looked at the slot."""
        self.events.excuse()
        self.note(("stopped:", stop.code))
        match stop.code:
            case "gap" | "position_missing" if may_ask:
                self.consent = Consent(accept_gap=True)
            case "slot_reused" if may_ask:
                self.consent = Consent(new_epoch=True)
            case "other_database" if self.lost_mark:
                self.consent = Consent(new_epoch=True)
            case _:
                raise self.violated("stops with a reason", f"{stop.code}, {stop.message}")

    def confirms(self, lsn: int) -> None:
        """A capture tells PostgreSQL that it may let go."""
        surely = self.now - self.sync_interval if self.sync_interval else self.now
        covered = max((flush for at, flush in self.events.flushes if at <= surely), default=0)
        if lsn > max(covered, self.server.slot.confirmed):
            raise self.violated(
                "confirmed after stored", f"{lsn:x} is, what is stored covers only {covered:x}"
            )
        self.note((self.now, "confirms", lsn))

    def acknowledge(self, mark: Any) -> None:
        if mark.flush > max((flush for _, flush in self.events.flushes), default=0):
            raise self.violated("acknowledged is stored", f"{mark} is, and not stored")

    def _stored(self, message: ModelMessage) -> None:
        self.events.take(self.now, message)
        if message.subject == POSITION:
            position = decode_position(message.payload)
            if position.publication_oid == self.server.slot.publication and not position.dropped:
                self.lost_mark = False
                self.lost_for_ever &= position.mark.flush < self.server.slot.confirmed

    def _lives(self) -> Generator[None]:
        streaming = True
        while True:
            for _ in range(self.random.randrange(60) if self.chaos and self.rivals > 1 else 0):
                yield
            connection = Connection()
            self.connections.append(connection)
            capture = SimulatedCapture(self, connection, streaming=streaming)
            try:
                streaming = yield from capture.life()
            finally:
                connection.open = False
                if capture.postgres.walsender is not None:
                    self.server.release(capture.postgres.walsender)
            yield


def play(seed: int) -> None:
    CaptureWorld(seed, Rules()).run()
