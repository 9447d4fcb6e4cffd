"""The router: EVENTS → DELIVERIES, exactly once (rules T1 to T7).

It reads subjects only and decodes no payload. Its position makes it the only one: a standby reads that position, and
claims it when it does not change for ten seconds, or at once when its writer has left in order. The wait is courtesy:
of two writers the server refuses one, whoever claims when.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from eventbus.condition import Role
from eventbus.connection import Connection
from eventbus.event import HEADER_EVENT_ID
from eventbus.fence import Claimed, FenceMark, Stored, waiting_reason
from eventbus.fenced_writer import FencedWriter
from eventbus.group_commit import CommitLimits, Committed, Group
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.patience import StopRequested, unless_stopped
from eventbus.position import Place, PositionLost
from eventbus.subjects import Subjects
from pipeline.metrics import BACKLOG, ROUTED, ROUTER_BLOCKED
from pipeline.routing.fanout import Fanout, RoutedEvent, Target, delivery_key, named_route
from pipeline.routing.position import (
    RouterMark,
    RouterPosition,
    StreamsMade,
    decode_position,
    encode_position,
)
from pipeline.routing.start import NOWHERE, STANDBY_S, RouterFacts, Stop, behind_torn, decide_start
from pipeline.tenants.routing import RoutingInvalid, RoutingTable

POLL_S = 1.0
BEAT_S = 2.0
"""A position is written at least so often; three seconds are promised."""
RELEASE_S = 5.0
LIMITS = CommitLimits(few=8)
"""A batch of two takes nats-server some syncs of its disk, 4 to 20 ms; a message by itself 0.3 ms."""

log = structlog.get_logger()


@dataclass
class _Table:
    """seq: of the last routing message in it."""

    routes: RoutingTable
    seq: int = 0


class RouterStopped(Exception):
    """The router cannot go on without a decision; says which."""


class Router:
    """One shard's router on a connection without reconnect."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        lanes: int,
        me: str,
        *,
        shard: int = 0,
        on_role: Callable[[Role], object] = lambda _: None,
    ) -> None:
        """me: this process, unlike any other; on_role: told when it stands by, and when it owns the position."""
        self._connection = connection
        self._jetstream = JetStream(connection)
        self._subjects = subjects
        self._fanout = Fanout(subjects, lanes)
        self._me = me
        self._shard = shard
        self._on_role = on_role
        self._events = subjects.stream("EVENTS")
        self._deliveries = subjects.stream("DELIVERIES")
        self._place = Place(
            self._deliveries, subjects.router_position(shard), subjects.all_deliveries, f"r{shard}-"
        )
        self._mark = NOWHERE
        self._committed_at = 0.0
        self.hindrance: str | None = None
        """Why it can write no deliveries just now, for people."""

    async def run(self, stop: asyncio.Event) -> None:
        """Routes, or stands by, until `stop` is set. Raises RouterStopped, WriteFailed, ConnectionLost."""
        while not stop.is_set():
            writer, made = await self._writer()
            held = await self._stand_by(writer, stop)
            if held is None:
                return
            with contextlib.suppress(PositionLost):
                await self._lead(writer, held, made, stop)
                return
            log.warning("another router has taken over; standing by", shard=self._shard)

    async def _writer(self) -> tuple[FencedWriter[RouterMark], StreamsMade]:
        made = StreamsMade(await self._created(self._events), await self._created(self._deliveries))

        def encode(mark: RouterMark, fence: FenceMark) -> bytes:
            return encode_position(self._me, made, mark, fence)

        writer = FencedWriter(
            self._connection, self._place, encode=encode, key_of=delivery_key, committed=self._on_committed
        )
        return writer, made

    async def _created(self, stream: str) -> str:
        info = await self._jetstream.stream_info(stream)
        if info is None:
            raise RouterStopped(f"stream {stream} does not exist; any `bridge` command makes it at its start")
        return str(info["created"])

    async def _stand_by(self, writer: FencedWriter[RouterMark], stop: asyncio.Event) -> Stored | None:
        """The position to claim, once nobody writes it; None: told to stop."""
        now = asyncio.get_running_loop().time
        seen, since = -1, 0.0
        while not stop.is_set():
            stored = await writer.position.read()
            if stored.seq == 0 or self._is_free(_position(stored)):
                return stored
            if stored.seq != seen:
                if seen == -1:
                    self._on_role(Role.STANDBY)
                    log.info("standing by for the router's position", shard=self._shard)
                seen, since = stored.seq, now()
            elif now() - since >= STANDBY_S:
                return stored
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
        return None

    def _is_free(self, position: RouterPosition) -> bool:
        """Its writer has left in order, or was ourselves on a connection that is lost."""
        return position.released or position.writer == self._me

    async def _lead(
        self, writer: FencedWriter[RouterMark], stored: Stored, made: StreamsMade, stop: asyncio.Event
    ) -> None:
        held = _position(stored) if stored.seq else None
        start = decide_start(held, await self._facts(held, made))
        if isinstance(start, Stop):
            raise RouterStopped(start.message)
        try:
            claimed = await unless_stopped(stop, writer.claim(stored, start.mark, LIMITS))
        except StopRequested:
            return
        self._mark = _behind(start.mark, claimed)
        self._on_role(Role.OWNER)
        log.info("routing", shard=self._shard, event_seq=self._mark.event_seq)
        work = [
            asyncio.create_task(job)
            for job in (writer.run(), self._read(writer), self._beat(writer), stop.wait())
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work[1:]:
                task.cancel()
            await asyncio.wait(work[1:])
            if stop.is_set():
                await self._release(writer)
            for task in done:
                await task
        finally:
            for task in work:
                task.cancel()
            self.hindrance = None
            ROUTER_BLOCKED.set(0)
            await asyncio.wait(work)
            for task in work:
                if not task.cancelled():
                    task.exception()

    async def _facts(self, held: RouterPosition | None, made: StreamsMade) -> RouterFacts:
        event_id, any_delivery = None, False
        if held is None:
            first = await self._jetstream.next_message(self._deliveries, self._subjects.all_deliveries, 1)
            any_delivery = first is not None
        elif held.event_seq:
            found = await self._jetstream.message(self._events, held.event_seq)
            event_id = found.headers.get(HEADER_EVENT_ID, "") if found else None
        return RouterFacts(made, event_id, any_delivery)

    async def _read(self, writer: FencedWriter[RouterMark]) -> None:
        mark = self._mark
        # an event of which some deliveries are missing is read again
        start = mark.event_seq if mark.cursor is not None else mark.event_seq + 1
        table = _Table(RoutingTable())
        async with OrderedReader(
            self._jetstream, Reading(self._events, [self._subjects.all_events], start)
        ) as reader:
            while True:
                messages = await reader.next()
                ROUTED.inc(len(messages))
                BACKLOG.set(messages[-1].pending)
                await self._refresh(table)
                for message in messages:
                    await self._route(writer, table.routes, message)

    async def _refresh(self, table: _Table) -> None:
        """Makes the table at least as new as the events that have come (rules T4, T5).

        A newer one is right for them too: its spans say since when and until when. Swapping it where its message
        stands among the events would not do: a later apply rolls that message up before a slow reader comes to it.
        """
        subject = self._subjects.all_routes
        last = await self._jetstream.last_message(self._events, subject)
        if last is not None and last.seq > table.seq:
            async with OrderedReader(
                self._jetstream, Reading(self._events, [subject], table.seq + 1)
            ) as reader:
                left = reader.waiting
                while left > 0:
                    messages = await reader.next()
                    for message in messages:
                        _put(table.routes, message)
                    table.seq = messages[-1].seq
                    left = min(left - len(messages), messages[-1].pending)
            table.seq = max(table.seq, last.seq)

    async def _route(self, writer: FencedWriter[RouterMark], table: RoutingTable, message: Message) -> None:
        event = RoutedEvent(message.seq, message.header_block, message.payload)
        if targets := self._targets(table, message):
            before = self._mark
            after = before.cursor if before.event_seq == event.seq else None
            for group in self._fanout.groups(event, targets, after):
                if not writer.room:
                    await writer.wait_room()
                writer.put(group)
                self._mark = group.mark
        # nobody wants it, or no more: the next batch says so, or the next beat
        self._mark = RouterMark(event.seq, event.id)

    def _targets(self, table: RoutingTable, message: Message) -> list[Target]:
        try:
            subject = self._subjects.parse_event(message.subject)
        except ValueError as error:
            log.error("somebody published what is no event", seq=message.seq, error=str(error))  # noqa: TRY400
            return []
        named = named_route(message.header_block)
        if named is not None:
            return table.named(message.seq, subject, named)
        return table.targets(message.seq, subject)

    async def _beat(self, writer: FencedWriter[RouterMark]) -> None:
        now = asyncio.get_running_loop().time
        blocked: int | None = None
        while True:
            await asyncio.sleep(BEAT_S / 2)
            if writer.blocked != blocked:
                blocked = writer.blocked
                self._tell_blocked(blocked)
            if writer.idle and now() - self._committed_at >= BEAT_S / 2:
                writer.put(Group.of((), self._mark))

    def _tell_blocked(self, code: int | None) -> None:
        ROUTER_BLOCKED.set(code or 0)
        self.hindrance = None if code is None else waiting_reason(code)
        if code is None:
            log.info("routing again", shard=self._shard)
        else:
            log.warning(
                "the stream takes nothing; events wait",
                stream=self._deliveries,
                because=self.hindrance,
                code=code,
            )

    async def _release(self, writer: FencedWriter[RouterMark]) -> None:
        """Leaves in order, so that the next one need not wait."""
        try:
            async with asyncio.timeout(RELEASE_S):
                await writer.drain()
                writer.put(Group.of((), self._mark._replace(released=True)))
                await writer.drain()
        except TimeoutError:
            log.warning("left without releasing the router's position", refusal=writer.blocked)

    def _on_committed(self, committed: Committed[RouterMark]) -> None:
        if not committed.single:
            self._committed_at = asyncio.get_running_loop().time()


def _position(stored: Stored) -> RouterPosition:
    try:
        return decode_position(stored.payload)
    except ValueError as error:
        raise RouterStopped(f"{error}; a newer version of the bridge may have written it") from None


def _behind(mark: RouterMark, claimed: Claimed) -> RouterMark:
    if claimed.torn is None:
        return mark
    headers = claimed.torn.headers
    return behind_torn(mark, delivery_key(headers), headers.get(HEADER_EVENT_ID, ""))


def _put(table: RoutingTable, message: Message) -> None:
    try:
        table.put(message.seq, message.payload)
    except RoutingInvalid as error:
        raise RouterStopped(f"{error}; upgrade the router") from None
