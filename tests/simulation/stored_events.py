"""What capture has stored, judged as it comes: against what was committed, and in which order.

The names of the invariants stand in README.md.
"""

from bisect import bisect_left
from collections.abc import Mapping

import msgspec

from cdc.backfill.label import Label, parse_label
from cdc.event_id import parse_event_id
from cdc.position import decode_position
from eventbus.event import HEADER_BACKFILL, HEADER_EVENT_ID
from tests.simulation.chronicle import Chronicle
from tests.simulation.jetstream_model import ModelMessage
from tests.simulation.orders_model import Effect, Row
from tests.simulation.postgres_model import Server
from tests.simulation.wal_model import Key
from tests.simulation.writer_world import POSITION

History = list[tuple[float, ModelMessage]]


def label_of(headers: Mapping[str, str]) -> Label | None:
    """A backfill's row has one."""
    text = headers.get(HEADER_BACKFILL)
    return None if text is None else parse_label(text)


def place_of(headers: Mapping[str, str]) -> Key:
    """A stored event's (LSN, ordinal), and a backfill's row's number."""
    label = label_of(headers)
    if label is not None:
        return label.key
    place = parse_event_id(headers[HEADER_EVENT_ID])
    return place.lsn, place.ordinal


class StoredEvents:
    """excused: what the slot will not send, and somebody agreed to that; history: by the time of storing."""

    def __init__(self, chronicle: Chronicle, server: Server) -> None:
        self.chronicle = chronicle
        self.server = server
        self.excused: set[Key] = set()
        self.history: History = []
        self.flushes: list[tuple[float, int]] = []
        """Of the positions that are stored: when, and what each says."""
        self.whole = True
        """No message was ever lost, and no change excused: then the events make the table."""
        self.stored: set[Key] = set()
        self._last: Key = (0, 0)
        self._reads: dict[tuple[int, str], int] = {}
        """By epoch and run: another epoch's rows are read anew."""
        self._read_ids: set[str] = set()

    def excuse(self) -> None:
        """The slot will not send what lies before its place, and somebody agreed to that."""
        confirmed = self.server.slot.confirmed
        # a message's place is the end of its record
        gone = {key for key in self.server.expected if key[0] - (key[1] == 0) < confirmed}
        self.whole &= gone <= self.stored
        self.excused |= gone

    def missing(self) -> set[Key]:
        return set(self.server.expected) - self.excused - self.stored

    def take(self, at: float, message: ModelMessage) -> None:
        """Stored now. Raises Violated."""
        if message.subject == POSITION:
            self._position(at, message)
        else:
            self._event(message)
        self.history.append((at, message))

    def keep_first(self, count: int) -> None:
        """The rest was lost with the power."""
        self.whole &= count == len(self.history)
        self.history = self.history[:count]
        self.flushes = [
            (at, decode_position(m.payload).mark.flush) for at, m in self.history if m.subject == POSITION
        ]
        events = [m for _, m in self.history if m.subject != POSITION]
        self.stored = {place_of(m.headers) for m in events}
        self._last = max(self.stored, default=(0, 0))
        labels = [label for m in events if (label := label_of(m.headers))]
        self._reads = {(label.epoch, label.run): label.n for label in labels}
        self._read_ids = {m.headers[HEADER_EVENT_ID] for m in events if label_of(m.headers)}

    def check_note(self, lsn: int, put: Key) -> None:
        """A note came round, and everything up to `put` is with the writer."""
        expected = self.server.expected
        before = [key for key in expected[: bisect_left(expected, (lsn, 0))] if key not in self.excused]
        if before and before[-1] > put:
            raise self.chronicle.violated(
                "a note comes in order", f"{before[-1]} is before {lsn:x}, {put} is put"
            )

    def check_table(self, *, all_read: bool) -> None:
        """Whoever replays the events has the table. all_read: also what was there before any change."""
        rows: dict[int, Row] = {} if all_read else dict(self.server.orders.old)
        for _, message in self.history:
            if message.subject != POSITION:
                for id_, row in self._effects(message):
                    if id_ is None:
                        rows.clear()
                    elif row is None:
                        rows.pop(id_, None)
                    else:
                        rows[id_] = row
        if self.whole and rows != self.server.orders.rows:
            raise self.chronicle.violated(
                "the events make the table",
                f"{sorted(rows.items())}, it is {sorted(self.server.orders.rows.items())}",
            )

    def _effects(self, message: ModelMessage) -> tuple[Effect, ...]:
        if label_of(message.headers) is not None:
            return (_read(message),)
        return self.server.events[place_of(message.headers)].effects

    def _position(self, at: float, message: ModelMessage) -> None:
        position = decode_position(message.payload)
        self.chronicle.note((at, "stored", message.seq, "position", tuple(position.mark)))
        before = next((m for _, m in reversed(self.history) if m.subject == POSITION), None)
        if before is not None:
            held = decode_position(before.payload)
            if held.epoch == position.epoch and position.mark.flush < held.mark.flush:
                raise self.chronicle.violated(
                    "flush never goes back", f"from {held.flush} to {position.flush}"
                )
        self.flushes.append((at, position.mark.flush))

    def _event(self, message: ModelMessage) -> None:
        key, last = place_of(message.headers), self._last
        self.chronicle.note(("stored", message.seq, "event", key))
        if key <= last:
            raise self.chronicle.violated("stored once, in order", f"{key} is stored after {last}")
        expected = self.server.expected
        between = expected[bisect_left(expected, last) : bisect_left(expected, key)]
        if skipped := [one for one in between if one != last and one not in self.excused]:
            raise self.chronicle.violated(
                "nothing skipped", f"{key} is stored after {last}, without {skipped}"
            )
        label = label_of(message.headers)
        if label is None:
            self._check_change(key, message)
        else:
            self._check_read(label, message)
        self._last = key
        self.stored.add(key)

    def _check_change(self, key: Key, message: ModelMessage) -> None:
        event = self.server.events.get(key)
        if event is None:
            raise self.chronicle.violated("only what was committed", f"nothing was committed at {key}")
        told = message.payload
        if b'"op":"%b"' % event.op.encode() not in told or b'%b"' % event.value.encode() not in told:
            raise self.chronicle.violated(
                "only what was committed",
                f"{event.op} {event.value} stands at {key}, and not {told.decode()}",
            )

    def _check_read(self, label: Label, message: ModelMessage) -> None:
        id_, row = _read(message)
        event_id, run = message.headers[HEADER_EVENT_ID], (label.epoch, label.run)
        if event_id in self._read_ids or label.n <= self._reads.get(run, 0):
            raise self.chronicle.violated("each read once", f"{event_id} after number {self._reads.get(run)}")
        self._read_ids.add(event_id)
        self._reads[run] = label.n
        assert id_ is not None
        held = self.server.orders.at(id_, label.lsn)
        if row != held:
            raise self.chronicle.violated(
                "a read is the row at its watermark",
                f"{id_} was {held} at {label.lsn:x}, and is told as {row}",
            )


class _Told(msgspec.Struct):
    id: int
    company: str
    status: str


class _ReadEvent(msgspec.Struct):
    after: _Told


def _read(message: ModelMessage) -> Effect:
    told = msgspec.json.decode(message.payload, type=_ReadEvent).after
    return told.id, (told.company, told.status)
