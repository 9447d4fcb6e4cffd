"""One writer's batches against the server: performs what `GroupCommit` decides (rules C7, T7).

writer = FencedWriter(connection, place, encode=…, key_of=…, committed=…)
claimed = await writer.claim(await writer.position.read(), mark)   # and go on behind claimed.torn
…in one task: await writer.run()                                   # ends with an error only
…in another: await writer.wait_room(); writer.put(Group.of(messages, mark)); …; await writer.drain()
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Generic

from eventbus.batch_publisher import BatchPublisher
from eventbus.connection import Connection
from eventbus.errors import ConnectionLost
from eventbus.fence import Claimed, FenceMark, Stored
from eventbus.group_commit import (
    Action,
    Commit,
    CommitLimits,
    Committed,
    Failed,
    Group,
    GroupCommit,
    Lost,
    Mark,
    OrderKey,
    Reclaim,
    Resolve,
    Send,
    Single,
)
from eventbus.position import Place, Position, PositionLost, WriteFailed, position_headers

COMMIT_TIMEOUT_S = 5.0
"""Below the ten seconds after which the server drops a batch that stands idle."""


class FencedWriter(Generic[Mark]):
    """The only writer of one position, until somebody else claims it."""

    def __init__(
        self,
        connection: Connection,
        place: Place,
        *,
        encode: Callable[[Mark, FenceMark], bytes],
        key_of: Callable[[Mapping[str, str]], OrderKey],
        committed: Callable[[Committed[Mark]], None],
    ) -> None:
        """The connection has no reconnect.

        encode: a position's payload; key_of: a stored message's key, from its headers;
        committed: called in the task of `run`, in order, for each batch that is stored.
        """
        self.position = Position(connection, place)
        self._connection = connection
        self._encode = encode
        self._key_of = key_of
        self._committed = committed
        self._publisher = BatchPublisher(connection, self._answered)
        self._answers: deque[tuple[str, int | None, int | None]] = deque()
        self._outstanding: tuple[str, float] | None = None
        self._something = asyncio.Event()
        self._progress = asyncio.Event()
        self._batches: GroupCommit[Mark] | None = None
        self._mark: Mark | None = None
        self._failure: Exception | None = None
        self._commit_at = 0.0
        self.commit_took = 0.0
        """Seconds from sending the last stored batch's end until we knew that it is stored."""

    async def claim(self, held: Stored, mark: Mark, limits: CommitLimits | None = None) -> Claimed:
        """Claims the position that was read as `held` and holds `mark`; waits while there is no room.

        Only what follows the key of `torn` may be put then. Raises as Position.claim.
        """
        claimed = await self.position.claim(held, partial(self._encode, mark))
        self._mark = mark
        self._batches = GroupCommit(
            partial(next, _batch_ids(self.position.place.prefix)), claimed.fence, limits
        )
        return claimed

    @property
    def blocked(self) -> int | None:
        """The error code of the refusal that keeps us waiting (10077: the stream is full), or SILENCE; None: all is well."""
        claiming = self.position.blocked
        return claiming if claiming is not None or self._batches is None else self._batches.blocked

    @property
    def room(self) -> bool:
        """Whether more may be put."""
        return self._claimed.room

    @property
    def idle(self) -> bool:
        """Everything that was put is committed."""
        return self._claimed.idle

    @property
    def fence(self) -> int:
        """The sequence of our position."""
        return self._claimed.fence

    def put(self, group: Group[Mark]) -> None:
        """Takes a group, after all that were put before it. Raises ValueError where no batch could hold it."""
        self._claimed.put(group)
        self._something.set()

    async def wait_room(self) -> None:
        """Raises what ended `run`."""
        await self._until(lambda: self.room)

    async def drain(self) -> None:
        """Waits until everything that was put is committed. Raises what ended `run`."""
        await self._until(lambda: self.idle)

    async def run(self) -> None:
        """Writes until it raises PositionLost, WriteFailed or ConnectionLost."""
        lost = asyncio.create_task(self._connection.lost.wait())
        lost.add_done_callback(lambda _: self._something.set())
        try:
            while True:
                self._something.clear()
                await self._act(self._claimed)
                self._progress.set()
                await self._wait(self._claimed)
        except Exception as error:
            self._failure = error
            raise
        finally:
            self._failure = self._failure or ConnectionLost("the writer was stopped")
            self._progress.set()
            lost.cancel()

    @property
    def _claimed(self) -> GroupCommit[Mark]:
        assert self._batches is not None, "claim the position first"
        return self._batches

    async def _act(self, batches: GroupCommit[Mark]) -> None:
        """Everything there is to do now."""
        now = asyncio.get_running_loop().time
        while True:
            if self._connection.lost.is_set():
                raise self._connection.loss()
            while self._answers:
                self._take(batches, *self._answers.popleft(), now())
            action = batches.decide(now())
            if action is None:
                return
            await self._perform(batches, action)

    async def _perform(self, batches: GroupCommit[Mark], action: Action[Mark]) -> None:
        match action:
            case Send(batch, first, messages):
                await self._publisher.send(batch, first, messages)
            case Commit():
                await self._commit(action)
            case Single(single, message, expected):
                self._begin_answer(single)
                await self._publisher.single(single, message, self.position.place.position, expected)
            case Resolve():
                self._report(batches.resolved(await self.position.read()))
            case Reclaim(held):
                assert self._mark is not None
                claimed = await self.position.claim(held, partial(self._encode, self._mark))
                batches.reclaimed(claimed.fence, self._key_of(claimed.torn.headers) if claimed.torn else None)
            case Lost(stored):
                raise PositionLost(self.position.place, stored)
            case Failed(code):
                raise WriteFailed(self.position.place, code)

    async def _commit(self, action: Commit[Mark]) -> None:
        payload = self._encode(action.mark, FenceMark(action.batch))
        self._begin_answer(action.batch)
        await self._publisher.commit(
            action.batch,
            action.number,
            self.position.place.position,
            position_headers(action.expected),
            payload,
        )

    def _begin_answer(self, batch: str) -> None:
        self._commit_at = asyncio.get_running_loop().time()
        self._outstanding = (batch, self._commit_at + COMMIT_TIMEOUT_S)

    async def _wait(self, batches: GroupCommit[Mark]) -> None:
        """Until something comes, a pause ends or the outstanding answer is overdue."""
        overdue = self._outstanding[1] if self._outstanding else None
        times = [time for time in (batches.wake, overdue) if time is not None]
        try:
            async with asyncio.timeout_at(min(times, default=None)):
                await self._something.wait()
        except TimeoutError:
            if self._outstanding and self._outstanding[1] <= asyncio.get_running_loop().time():
                self._answered(self._outstanding[0], None, None)

    def _answered(self, batch: str, seq: int | None, code: int | None) -> None:
        self._answers.append((batch, seq, code))
        self._something.set()

    def _take(
        self, batches: GroupCommit[Mark], batch: str, seq: int | None, code: int | None, now: float
    ) -> None:
        self._publisher.forget(batch)
        if self._outstanding and self._outstanding[0] == batch:
            self._outstanding = None
        self._report(batches.answered(batch, seq, code, now))

    def _report(self, committed: Committed[Mark] | None) -> None:
        if committed is not None:
            self._mark = committed.mark
            self.commit_took = asyncio.get_running_loop().time() - self._commit_at
            self._committed(committed)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._failure is not None:
                raise self._failure
            self._progress.clear()
            await self._progress.wait()


def _batch_ids(prefix: str) -> Iterator[str]:
    """Ids of at most 64 characters that nobody ever used."""
    unique, number = secrets.token_hex(10), 0
    while True:
        number += 1
        yield f"{prefix}{unique}-{number}"
