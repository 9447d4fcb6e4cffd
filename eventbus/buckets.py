"""Key-value buckets with compare-and-set, keys that expire, and watching (ADR-8 of nats-architecture-and-design).

Reads go through the stream's leader: what was written is seen.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from eventbus import wire
from eventbus.errors import EventBusError, JetStreamError
from eventbus.jetstream import WRONG_LAST_SEQUENCE, JetStream, StoredMessage
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading

_KEY = re.compile(r"[-/_=.a-zA-Z0-9]+")
_OPERATION = "KV-Operation"
_DELETED = ("DEL", "PURGE")
LOOK_AGAIN_S = 1.0


class RevisionConflict(EventBusError):
    """The key was written by somebody else meanwhile (or exists, where it should be created)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value at a revision; `value` None: it was deleted. What expires leaves no entry.

    time: when it was stored, in seconds since the epoch, of the server's clock; headers: those it was written with.
    """

    key: str
    value: bytes | None
    revision: int
    time: float = field(default=0.0, compare=False)
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


class Bucket:
    """One bucket; it is made by `topology.ensure_topology`. Methods raise as JetStream's do."""

    def __init__(self, jetstream: JetStream, name: str) -> None:
        self._jetstream = jetstream
        self._name = name
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """The key as it is now; None where there is none. A deleted one has no value, but a revision."""
        found = await self._jetstream.last_message(self._stream, self._subject(key))
        if found is None:
            return None
        return _stored(key, found)

    async def at(self, key: str, revision: int) -> Entry | None:
        """The key as it was written at a revision; None where that is not kept any more."""
        found = await self._jetstream.message(self._stream, revision)
        return None if found is None or found.subject != self._subject(key) else _stored(key, found)

    async def made(self) -> str:
        """When the bucket was made: unlike that of any other, also of one of the same name before it."""
        info = await self._jetstream.stream_info(self._stream)
        return "" if info is None else str(info["created"])

    async def revisions(self) -> dict[str, int]:
        """How many revisions of each key are kept, deletions included."""
        info = await self._jetstream.stream_info(self._stream, {"subjects_filter": self._prefix + ">"})
        counts: Mapping[str, int] = {} if info is None else info["state"].get("subjects") or {}
        return {subject.removeprefix(self._prefix): count for subject, count in counts.items()}

    async def put(self, key: str, value: bytes, *, expires: float | None = None) -> int:
        """Writes, whatever is there; the new revision. `expires`: seconds that it lives (RETRY only)."""
        return await self._jetstream.publish(self._subject(key), value, _ttl(expires))

    async def update(
        self, key: str, value: bytes, revision: int, *, expires: float | None = None, headers: bytes = b""
    ) -> int:
        """Writes only over `revision` (0: there must be none). headers: whole lines. Raises RevisionConflict."""
        return await self._compare_and_set(key, value, revision, _ttl(expires) + headers)

    async def create(self, key: str, value: bytes, *, expires: float | None = None) -> int:
        """Writes only where there is no value: none yet, or a deleted one. Raises RevisionConflict."""
        try:
            return await self.update(key, value, 0, expires=expires)
        except RevisionConflict:
            found = await self.get(key)
            if found is None or found.value is not None:
                raise
            return await self.update(key, value, found.revision, expires=expires)

    async def delete(
        self,
        key: str,
        revision: int | None = None,
        *,
        marker_expires: float | None = None,
        headers: bytes = b"",
    ) -> int:
        """Deletes, keeping the history; with `revision` only over it. Raises RevisionConflict.

        A marker stays in its place, for `marker_expires` seconds (RETRY only) or for good; its revision. headers:
        whole lines.
        """
        marker = wire.header_lines({_OPERATION: "DEL"}) + _ttl(marker_expires) + headers
        if revision is None:
            return await self._jetstream.publish(self._subject(key), b"", marker)
        return await self._compare_and_set(key, b"", revision, marker)

    async def history(self, key: str) -> list[Entry]:
        """What is kept of a key, oldest first."""
        entries: list[Entry] = []
        start = 1
        while found := await self._jetstream.next_message(self._stream, self._subject(key), start):
            entries.append(_stored(key, found))
            start = found.seq + 1
        return entries

    async def entries(self, pattern: str = ">") -> list[Entry]:
        """Every key that has a value and matches (`*` one part, `>` the rest), by revision."""
        async with self.watch(pattern) as watch:
            return [entry for entry in watch.initial if entry.value is not None]

    def watch(self, pattern: str = ">") -> "Watch":
        """`async with bucket.watch() as watch`: what is there (`watch.initial`), then every change."""
        return Watch(
            self._jetstream, Reading(self._stream, [self._prefix + pattern], None), len(self._prefix)
        )

    async def _compare_and_set(self, key: str, value: bytes, revision: int, headers: bytes) -> int:
        expected = b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % revision
        try:
            return await self._jetstream.publish(self._subject(key), value, headers + expected)
        except JetStreamError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            raise RevisionConflict(
                f"key {key} of bucket {self._name} is no longer at revision {revision}"
            ) from None

    def _subject(self, key: str) -> str:
        if not _KEY.fullmatch(key) or key[0] == "." or key[-1] == "." or ".." in key:
            raise ValueError(f"not a key of a bucket: {key!r}")
        return self._prefix + key


class Watch:
    """A bucket's keys, and then their changes, in order."""

    def __init__(self, jetstream: JetStream, reading: Reading, prefix: int) -> None:
        self._reader = OrderedReader(jetstream, reading)
        self._prefix = prefix
        self._rest: list[Message] = []
        self.initial: list[Entry] = []
        """Each key's last entry as the watch began, deleted ones included, by revision."""

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        try:
            await self._read_initial()
        except BaseException:
            await asyncio.shield(self._reader.__aexit__())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.__aexit__()

    async def next(self) -> list[Entry]:
        """The changes that have come since, at least one. Raises ConnectionLost, JetStreamError."""
        return list(map(self._entry, await self._reader.next()))

    async def _read_initial(self) -> None:
        caught_up = not self._reader.waiting
        while not caught_up:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    messages = await self._reader.next()
            except TimeoutError:  # the last ones may have expired meanwhile
                caught_up = await self._reader.empty()
            else:
                self.initial += map(self._entry, messages)
                caught_up = not messages[-1].pending

    def _entry(self, message: Message) -> Entry:
        key = message.subject[self._prefix :]
        return Entry(
            key, _value(message.headers, message.payload), message.seq, message.time, message.headers
        )


def _stored(key: str, message: StoredMessage) -> Entry:
    when = datetime.fromisoformat(message.time).timestamp()
    return Entry(key, _value(message.headers, message.payload), message.seq, when, message.headers)


def _value(headers: Mapping[str, str], payload: bytes) -> bytes | None:
    return None if headers.get(_OPERATION) in _DELETED else payload


def _ttl(expires: float | None) -> bytes:
    return b"" if expires is None else b"Nats-TTL: %ds\r\n" % max(1, round(expires))
