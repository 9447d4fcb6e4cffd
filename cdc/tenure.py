"""One time of owning a slot, from the lock to the claimed position (rules C2 to C6).

Losing a connection ends it; the next one begins with the lock again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog

from cdc.backfill.label import after_labels
from cdc.catalogue import Catalogue
from cdc.event_id import order_key, place_id
from cdc.position import Identity, Mark, Position, decode_position
from cdc.progress import Progress, ProgressSettings
from cdc.replication_connection import ReplicationConnection, ServerIdentity, timeline_switches
from cdc.settings import WAL2JSON, SourceSettings, tables_hash
from cdc.source_errors import CaptureStopped, SlotBusy, SourceLost
from cdc.source_facts import SlotState
from cdc.start_decision import Begin, Consent, SlotFacts, Stop, decide_gap, decide_start, tables_changed
from eventbus.connection import Connection, connect
from eventbus.event import HEADER_BACKFILL, HEADER_EVENT_ID
from eventbus.fence import FenceMark, Stored, Torn
from eventbus.fenced_writer import FencedWriter
from eventbus.group_commit import Committed, Group, OrderKey
from eventbus.jetstream import JetStream
from eventbus.lsn import format_lsn
from eventbus.position import Place, PositionLost
from eventbus.settings import NatsSettings
from eventbus.subjects import Subjects

STANDBY_RETRY = 1.0
_FEEDBACK_AT_MOST = 10.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Connections:
    """What a tenure holds; none of them reconnects by itself."""

    nats: Connection
    catalogue: Catalogue
    replication: ReplicationConnection


@asynccontextmanager
async def connections(source: SourceSettings, nats: NatsSettings) -> AsyncIterator[Connections]:
    """Raises NatsUnreachable, NatsRefused, SourceLost (`refused`)."""
    async with AsyncExitStack() as stack:
        connection = await connect(nats, name=f"bridge capture {source.name}", reconnect=False)
        stack.push_async_callback(connection.close)
        catalogue = await Catalogue.open(source.dsn)
        stack.push_async_callback(catalogue.close)
        replication = await ReplicationConnection.open(source.dsn)
        # first to be closed: whoever stands by may go on while we still tidy up
        stack.push_async_callback(replication.close)
        yield Connections(connection, catalogue, replication)


class Tenure:
    """Lock, position and writer of one owner: `lock`, then `claim`, then the members below are ready."""

    def __init__(
        self,
        source: SourceSettings,
        nats: NatsSettings,
        held: Connections,
        on_committed: Callable[[Committed[Mark]], object] = lambda _: None,
    ) -> None:
        """on_committed: told each batch, once it is stored."""
        subjects = Subjects(nats.namespace)
        self.source = source
        self.connections = held
        self.mark = Mark(0, 0, 0)
        """Where to go on: what stands at or before its key is published."""
        self.noted = self.mark
        """Where to read on: before `mark`, if a torn batch holds changes that open backfills have still to note."""
        self.published = self.mark
        """What is stored by now."""
        self.changed = asyncio.Event()
        """Set when `progress` has learned something."""
        self.on_stored: Callable[[Mark], None] | None = None
        """Told each mark that is stored, in order."""
        self.on_begin: Callable[[int], Awaitable[None]] | None = None
        """Told the number of an epoch that is about to begin, perhaps more than once."""
        self.progress = Progress(ProgressSettings(hold_back=nats.hold_back), _now())
        self._on_committed = on_committed
        self._hold_back = nats.hold_back
        self._written = ""  # when the mark that holds was first written, by the writer's clock
        self._server: ServerIdentity | None = None
        self._position: Position | None = None
        place = Place(
            stream=subjects.stream("EVENTS"),
            position=subjects.position(source.name),
            look=subjects.events_of(source.name),
            prefix="c-",
            label=HEADER_BACKFILL,
        )
        self.writer: FencedWriter[Mark] = FencedWriter(
            held.nats, place, encode=self._encode, key_of=self._key_of, committed=self._committed
        )

    @property
    def position(self) -> Position:
        """The claimed position: identity and epoch."""
        assert self._position is not None, "claim first"
        return self._position

    async def lock(self, stop: asyncio.Event, on_standby: Callable[[], object]) -> bool:
        """Takes the slot; while somebody else reads it, tries again each second. False: stopped meanwhile.

        Raises SourceLost, SlotRefused, CaptureStopped, ConnectionLost.
        """
        replication, source = self.connections.replication, self.source
        self._server = await replication.identify()
        self._check_plugin(await self.connections.catalogue.slot(source.slot, source.publication))
        timeout = await replication.wal_sender_timeout()
        feedback_every = min(_FEEDBACK_AT_MOST, timeout / 3 or _FEEDBACK_AT_MOST)
        waits = False
        while not stop.is_set():
            if self.connections.nats.lost.is_set():
                raise self.connections.nats.loss()
            try:
                await self._start()
            except SlotBusy as busy:
                if not waits:
                    on_standby()
                    log.info("standing by", source=source.name, slot=source.slot, because=str(busy))
                waits = True
                await until_set(stop, STANDBY_RETRY)
            else:
                settings = ProgressSettings(hold_back=self._hold_back, feedback_every=feedback_every)
                self.progress = Progress(settings, _now())
                return True
        return False

    async def _start(self) -> None:
        replication, source = self.connections.replication, self.source
        if source.plugin == WAL2JSON:
            await replication.start_wal2json(source.slot)
        else:
            await replication.start(source.slot, source.publication, streaming=source.streaming)

    async def claim(self, consent: Consent) -> None:
        """Reads, decides, claims, looks and checks for a gap. Raises CaptureStopped, and as the connections do."""
        switches, anew = await self._timeline_switches(), None
        while True:
            stored = await self.writer.position.read()
            held = self._held(stored)
            slot = await self._slot_facts(switches)
            position = anew or await self._decide(held, slot, consent)
            self._position, self._written = position, position.written
            try:
                claimed = await self.writer.claim(stored, position.mark)
            except PositionLost as lost:
                # what our predecessor had under way came in between: its words count
                log.info("position moved while it was claimed", source=self.source.name, because=str(lost))
                continue
            behind_torn = self._after_torn(position, claimed.torn)
            decided = decide_gap(behind_torn, position, slot, consent)
            if not isinstance(decided, Begin):
                break
            anew = decided.position
            await self._begins(anew.epoch)
        if isinstance(decided, Stop):
            raise CaptureStopped(decided)
        self.noted = position.mark if decided.runs and decided == behind_torn else decided
        self._go_on(decided, position, slot)
        self._log_claimed(position, claimed.torn)

    def _go_on(self, decided: Mark, position: Position, slot: SlotFacts) -> None:
        self.mark = self.published = decided
        # from here on, and not in the claim: whoever claims after a crash decides by what held before it
        self._position = msgspec.structs.replace(
            position, tables_hash=tables_hash(self.source), timeline=slot.identity.timeline
        )
        self.progress.begin(position.mark.flush, slot.confirmed_flush, _now())
        if decided.flush > position.mark.flush:
            # a gap that was accepted is remembered, whether or not anything follows
            self.writer.put(Group.of((), decided))
            self.progress.put(decided.flush)
        self.changed.set()

    async def part(self) -> None:
        """Confirms what may be confirmed, and lets the slot go."""
        self.connections.replication.confirm(self.progress.final(_now()))
        await self.connections.replication.leave()
        log.info("stopped", source=self.source.name, confirmed=format_lsn(self.progress.confirmed))

    def _held(self, stored: Stored) -> Position | None:
        try:
            held = decode_position(stored.payload) if stored.seq else None
        except ValueError as error:
            way = f"look at message {stored.seq} of {self.writer.position.place.stream}"
            raise CaptureStopped(Stop("position_unreadable", str(error), (way,))) from None
        if held is not None:
            self.published = held.mark
        return held

    async def _decide(self, held: Position | None, slot: SlotFacts, consent: Consent) -> Position:
        last_event = None if held else await self._last_event_id()
        decision = decide_start(held, last_event, slot, tables_hash(self.source), consent)
        if isinstance(decision, Stop):
            raise CaptureStopped(decision)
        if isinstance(decision, Begin):
            await self._begins(decision.position.epoch)
        elif self.on_begin is not None:
            log.info("no epoch begins, so --snapshot reads nothing", source=self.source.name)
        return decision.position

    async def _begins(self, epoch: int) -> None:
        log.info("beginning an epoch", source=self.source.name, epoch=epoch)
        if self.on_begin is not None:
            await self.on_begin(epoch)

    def _after_torn(self, position: Position, torn: Torn | None) -> Mark:
        """Where the messages of a torn batch end; what they say of another epoch means nothing here."""
        mark = position.mark
        if torn is None:
            return mark
        mark = mark._replace(runs=after_labels(mark.runs, torn.labels.values(), position.epoch))
        lsn, ordinal, *_ = order_key(torn.headers, position.epoch)
        if (lsn, ordinal) <= mark.key:
            return mark
        # a read stands between transactions
        if ordinal and position.tables_hash != tables_hash(self.source):
            raise CaptureStopped(tables_changed(format_lsn(lsn)))
        return mark._replace(lsn=lsn, ordinal=ordinal)

    async def _slot_facts(self, switches: Mapping[int, int]) -> SlotFacts:
        source, server = self.source, self._server
        state = await self.connections.catalogue.slot(source.slot, source.publication)
        if state.active_pid != self.connections.replication.backend_pid:
            await self.connections.replication.hear_last_words()
            raise SourceLost("PostgreSQL: the two connections of capture reached different servers")
        self._check_usable(state)
        if server is None or state.confirmed_flush is None or state.wal_end is None:
            raise SourceLost(f"PostgreSQL: slot {source.slot} is gone, or the server became a standby")
        if state.publication_oid is None:
            raise CaptureStopped(
                Stop(
                    "publication_missing",
                    f"there is no publication {source.publication}",
                    ("`bridge cdc setup`",),
                )
            )
        return SlotFacts(
            Identity(server.system_id, server.timeline, server.database, state.publication_oid, source.slot),
            state.confirmed_flush,
            state.created_at(source.slot),
            state.wal_end,
            switches,
        )

    def _check_plugin(self, state: SlotState) -> None:
        """Before it is read: the plugin of another slot would refuse our options, which looks like a loss."""
        name, plugin = self.source.slot, self.source.plugin
        if state.plugin is not None and state.plugin != plugin:
            message = f"slot {name} was made for plugin {state.plugin}, and bridge.yaml says {plugin}"
            ways = (
                f"`plugin: {state.plugin}` in bridge.yaml",
                "`bridge cdc drop` and `bridge cdc setup`: a slot for the other plugin, and ids of a new epoch",
            )
            raise CaptureStopped(Stop("slot_plugin", message, ways))

    def _check_usable(self, state: SlotState) -> None:
        if state.two_phase:
            message = f"slot {self.source.slot} was made with two_phase: it sends a prepared transaction's rows before the commit"
            way = "`bridge cdc drop` and `bridge cdc setup`: a slot without it"
            raise CaptureStopped(Stop("slot_two_phase", message, (way,)))

    async def _timeline_switches(self) -> dict[int, int]:
        """On a connection of its own: ours streams already."""
        assert self._server is not None, "lock first"
        if self._server.timeline == 1:
            return {}
        other = await ReplicationConnection.open(self.source.dsn)
        try:
            return timeline_switches(await other.timeline_history(self._server.timeline))
        finally:
            await other.close()

    async def _last_event_id(self) -> str | None:
        place = self.writer.position.place
        found = await JetStream(self.connections.nats).last_message(place.stream, place.look)
        return None if found is None else place_id(found.headers)

    def _encode(self, mark: Mark, fence: FenceMark) -> bytes:
        # a claim publishes nothing: where something is missing afterwards, this tells since when
        return self.position.encode(mark, fence, (fence.claim and self._written) or _clock())

    def _key_of(self, headers: Mapping[str, str]) -> OrderKey:
        return order_key(headers, self.position.epoch)

    def _committed(self, committed: Committed[Mark]) -> None:
        self.published, self._written = committed.mark, _clock()
        self._on_committed(committed)
        self.progress.acknowledged(committed.mark.flush, _now())
        self.changed.set()
        if self.on_stored is not None:
            self.on_stored(committed.mark)

    def _log_claimed(self, position: Position, torn: Torn | None) -> None:
        log.info(
            "capturing",
            source=self.source.name,
            slot=self.source.slot,
            epoch=position.epoch,
            after=f"{format_lsn(self.mark.lsn)}:{self.mark.ordinal}",
            flush=format_lsn(self.mark.flush),
            torn_batch_ended_at=torn and torn.headers.get(HEADER_EVENT_ID),
        )


def _clock() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _now() -> float:
    return asyncio.get_running_loop().time()


async def until_set(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
