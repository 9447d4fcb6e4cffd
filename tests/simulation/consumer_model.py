"""Consumers of one stream in memory, pinned to one client each, as far as the protocols of delivery use them.

As in `jetstream_model.py`: no time passes by itself, and `test_consumer_model.py` compares it with a real server.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.jetstream_model import ModelMessage, StreamModel, matches

OTHER_SETTINGS = 10148
WRONG_PIN = 423
DELETED = 409


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a consumer delivers it. delivered: how often, as the server counts; pin: to whom, 0: to anybody."""

    message: ModelMessage
    consumer_seq: int
    delivered: int
    pin: int = 0


class Facts(NamedTuple):
    """What CONSUMER.INFO says. floor, delivered: stream sequences; num_pending: still to be delivered once."""

    floor: int
    delivered: int
    consumer_seq: int
    num_ack_pending: int
    num_pending: int


class _Stored(NamedTuple):
    """What the server keeps on disk of a consumer."""

    delivered: int
    consumer_seq: int
    floor: tuple[int, int]
    pending: dict[int, int]
    again: dict[int, int]


class ConsumerModel:
    """A durable pull consumer with explicit acks. Time does not pass: `expire` is called."""

    def __init__(
        self, stream: StreamModel, subject: str, start: int = 1, max_ack_pending: int = 10_000
    ) -> None:
        self.max_deliver = 10**9
        """What has been delivered so often is given up, and nobody hears of it."""
        self.subject = subject
        self.start = start
        self._stream = stream
        self._max_ack_pending = max_ack_pending
        self._next = min(max(start, stream.first_seq), stream.last_seq + 1)
        self._delivered = self._next - 1
        self._consumer_seq = 0
        self._floor = (0, self._next - 1)
        self._pending: dict[int, int] = {}
        """Sequence → number of its first delivery."""
        self._redelivered: dict[int, int] = {}
        self._again: deque[int] = deque()
        self._flushed = self._state()
        self.terminated: list[tuple[int, str]] = []
        """The advisories: sequence and reason."""

    @property
    def pending(self) -> list[int]:
        """Delivered and not settled, by sequence."""
        return sorted(self._pending)

    def is_pending(self, seq: int) -> bool:
        return seq in self._pending

    @property
    def ack_floor(self) -> int:
        """Everything up to here is settled."""
        return self._floor[1]

    @property
    def delivered_seq(self) -> int:
        """The highest sequence that was delivered."""
        return self._delivered

    @property
    def consumer_seq(self) -> int:
        """The number of the last delivery."""
        return self._consumer_seq

    @property
    def next_seq(self) -> int:
        """It has delivered everything below."""
        return self._next

    @property
    def waits_again(self) -> bool:
        """Whether something is to be delivered once more."""
        return bool(self._again)

    def is_deliverable(self) -> bool:
        """Whether a pull would be given a message. Looked for in vain, it goes on behind what is there."""
        if any(seq in self._pending and seq in self._stream.messages for seq in self._again):
            return True
        return len(self._pending) < self._max_ack_pending and self._fresh() is not None

    def facts(self) -> Facts:
        stream = self._stream
        waiting = len(stream.between(self.subject, self._next - 1, stream.last_seq + 1))
        return Facts(self._floor[1], self._delivered, self._consumer_seq, len(self._pending), waiting)

    def pull(self) -> Delivery | None:
        """The next delivery: first what is to be delivered again, in the order it came back."""
        stream = self._stream
        while self._again:
            seq = self._again.popleft()
            if seq not in stream.messages or self._redelivered.get(seq, 0) + 1 >= self.max_deliver:
                self.ack(seq)
            elif seq in self._pending:
                self._redelivered[seq] = self._redelivered.get(seq, 0) + 1
                return self._deliver(stream.messages[seq])
        if len(self._pending) >= self._max_ack_pending:
            return None
        fresh = self._fresh()
        if fresh is None:
            return None
        self._next, self._delivered = fresh.seq + 1, fresh.seq
        delivery = self._deliver(fresh)
        self._pending[fresh.seq] = self._consumer_seq
        return delivery

    def ack(self, seq: int) -> bool:
        """Settled. What is not pending is ignored, here as in what follows.

        Whether it is answered: what this consumer has not come to yet, as after a rollback, is not.
        """
        if seq >= self._next:
            return False
        number = self._pending.pop(seq, None)
        if number is not None:
            self._redelivered.pop(seq, None)
            if seq in self._again:
                self._again.remove(seq)
            self._move_floor(number, seq)
        return True

    def nak(self, seq: int, *, by: int | None = None, delayed: bool = False) -> None:
        """Delivered again at once, or as `expire` says. by: the number of the delivery it answers."""
        if seq not in self._pending or not (by is None or self._floor[0] < by <= self._consumer_seq + 1):
            return
        waits = seq in self._again
        if delayed and waits:
            self._again.remove(seq)
        elif not delayed and not waits:
            self._again.append(seq)

    def terminate(self, seq: int, reason: str) -> bool:
        known = seq in self._pending
        answers = self.ack(seq)
        if known:
            self.terminated.append((seq, reason))
        return answers

    def expire(self) -> None:
        """`ack_wait` passes without any progress: all that is pending comes again."""
        for seq in self.pending:
            self.nak(seq)

    def purged(self, remaining: int, *, wider: bool) -> None:
        """The stream was purged, and `remaining` is the first sequence that is left of what was purged.

        wider: this consumer delivers other messages as well; remaining is the stream's then. What was waiting to be
        delivered again waits from now on for its `ack_wait`, whether it was purged or not.
        """
        self._next = max(self._next, remaining)
        if self._floor[1] < remaining:
            self._floor = (self._floor[0], remaining - 1)
            for seq in list(self._pending):
                if seq < remaining or (wider and seq not in self._stream.messages):
                    self._floor = (max(self._floor[0], self._pending.pop(seq)), remaining - 1)
                    self._redelivered.pop(seq, None)
        if not self._pending:
            self._floor = (self._consumer_seq, self._next - 1)
        self._delivered = self._next - 1
        self._again.clear()

    def flush(self) -> None:
        """The server writes the consumer's state to disk, as it does about every 100 ms."""
        self._flushed = self._state()

    def crash(self) -> None:
        """The server is killed: what was settled since the last flush comes again, some as if for the first time.

        What is pending comes again when its `ack_wait` is over.
        """
        stored = self._flushed
        self._delivered, self._consumer_seq, self._floor = stored.delivered, stored.consumer_seq, stored.floor
        self._pending, self._redelivered = dict(stored.pending), dict(stored.again)
        self._next, self._again = self._delivered + 1, deque()

    def _fresh(self) -> ModelMessage | None:
        found = self._stream.first(self.subject, self._next)
        self._next = max(self._next, found.seq if found else self._stream.last_seq + 1)
        return found

    def _deliver(self, message: ModelMessage) -> Delivery:
        self._consumer_seq += 1
        return Delivery(message, self._consumer_seq, self._redelivered.get(message.seq, 0) + 1)

    def _move_floor(self, number: int, seq: int) -> None:
        if not self._pending:
            self._floor = (self._consumer_seq, self._delivered)
        elif number == self._floor[0] + 1:
            following = min((other for other in self._pending if other > seq), default=None)
            self._floor = (
                (number, seq) if following is None else (self._pending[following] - 1, following - 1)
            )

    def _state(self) -> _Stored:
        return _Stored(
            self._delivered, self._consumer_seq, self._floor, dict(self._pending), dict(self._redelivered)
        )


@dataclass(slots=True)
class _Pinned:
    consumer: ConsumerModel
    pin: int = 0


class ConsumersModel:
    """All consumers of a stream, by name. Methods that may be refused return minus the error code."""

    def __init__(self, stream: StreamModel) -> None:
        self.stream = stream
        self._consumers: dict[str, _Pinned] = {}
        self._pins = 0

    def __contains__(self, name: str) -> bool:
        return name in self._consumers

    def __getitem__(self, name: str) -> ConsumerModel:
        return self._consumers[name].consumer

    @property
    def names(self) -> list[str]:
        return list(self._consumers)

    def create(self, name: str, subject: str, start: int = 1, max_ack_pending: int = 10_000) -> int:
        """0, also where it is there with the same settings."""
        found = self._consumers.get(name)
        if found is not None:
            same = (found.consumer.subject, found.consumer.start) == (subject, start)
            return 0 if same else -OTHER_SETTINGS
        self._consumers[name] = _Pinned(ConsumerModel(self.stream, subject, start, max_ack_pending))
        return 0

    def delete(self, name: str) -> bool:
        return self._consumers.pop(name, None) is not None

    def pull(self, name: str, pin: int = 0) -> Delivery | int | None:
        """One delivery; None: nothing, or another is pinned. pin: 0 for a client that does not know any."""
        found = self._consumers.get(name)
        if found is None:
            return -DELETED
        if pin and pin != found.pin:
            # where nobody is pinned, that shows with the next message only
            return -WRONG_PIN if found.pin or found.consumer.is_deliverable() else None
        if found.pin and not pin:
            return None
        delivery = found.consumer.pull()
        if delivery is None:
            return None
        if not found.pin:
            self._pins += 1
            found.pin = self._pins
        return Delivery(delivery.message, delivery.consumer_seq, delivery.delivered, found.pin)

    def pin(self, name: str) -> int:
        """Whose it is; 0: nobody's."""
        return self._consumers[name].pin

    def unpin(self, name: str) -> None:
        """Asked for, or because no pull came for `priority_timeout`."""
        self._consumers[name].pin = 0

    def ack(self, name: str, seq: int) -> int | None:
        """Whoever it is who acknowledges. Minus 503 where there is no such consumer; None where it does not answer."""
        if name not in self._consumers:
            return -503
        return 0 if self[name].ack(seq) else None

    def purge(self, subject: str, below: int) -> None:
        """Deletes what matches below a sequence, and tells the consumers.

        Where that takes what a consumer has not delivered, a server's `num_pending` is not to be relied on any more.
        """
        stream, consumers = self.stream, [found.consumer for found in self._consumers.values()]
        stream.purge(subject, below)
        remaining = stream.first(subject, 1)
        for consumer in consumers:
            if covers(subject, consumer.subject):
                consumer.purged(remaining.seq if remaining else stream.last_seq + 1, wider=False)
            elif covers(consumer.subject, subject):
                consumer.purged(stream.first_seq, wider=True)

    def restart(self, *, killed: bool) -> None:
        """The server starts anew: it has forgotten the pins; killed, the acks of a moment as well."""
        for found in self._consumers.values():
            found.pin = 0
            if not killed:
                found.consumer.flush()
            found.consumer.crash()

    def flush(self) -> None:
        for found in self._consumers.values():
            found.consumer.flush()


def covers(wide: str, narrow: str) -> bool:
    """Whether one pattern matches all that the other one does."""
    return matches(wide, narrow.replace(">", "_._").replace("*", "_")) or wide == narrow
