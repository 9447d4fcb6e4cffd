"""Performs what a turn asks for (`pipeline.delivery.turn`): one delivery, one route, one connection.

What decides stands elsewhere; here is the order of things: the event's payload → the mapping in force → the request →
the ERP → what its answer means → the record, the dead letter, the settling.
"""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

import structlog

from connectors.plug_in_guard import words
from connectors.protocol import Outcome, Throttled, Unavailable, Uncertain
from eventbus.errors import EventBusError, JetStreamError
from eventbus.event import (
    HEADER_BACKFILL_ROUTE,
    HEADER_EVENT_ID,
    HEADER_EVENT_SEQ,
    HEADER_OBJECT,
    HEADER_REPLAY,
    HEADER_REPLAY_KEY,
    EventInvalid,
    decode_event,
)
from eventbus.message import Message
from eventbus.objects import ObjectDamaged, ObjectMissing, ObjectStore
from eventbus.settling import Settling
from eventbus.subjects import DeliverySubject
from pipeline.delivery.acks import Acks
from pipeline.delivery.attempt import Attempt, DeliveryId
from pipeline.delivery.attempts_log import AttemptsLog
from pipeline.delivery.disposition import Ack, DeadLetter, Problem
from pipeline.delivery.preparation import NextOne, Preparation, Progress, Reads
from pipeline.delivery.repeated_lines import RepeatedLines
from pipeline.delivery.retry_record import SETTLED_BEFORE, Known
from pipeline.delivery.retry_records import RetryRecords, persist
from pipeline.delivery.saved_values import SavedValues, SaveRefused
from pipeline.delivery.turn import (
    Bury,
    Ending,
    Later,
    ReadRecord,
    Render,
    Report,
    Rules,
    Save,
    Send,
    Sent,
    Settle,
    Step,
    Turn,
    Waiting,
    WriteRecord,
    give_up,
    settle,
    take_turn,
)
from pipeline.dlq.dead_letter import dead_letter, letter_headers
from pipeline.dlq.store import DeadLetterStore, WriteHooks
from pipeline.jail.pool import RendererBroken
from pipeline.lanes.lane_lease import LeaseLost
from pipeline.mapping import RenderInput, SavedRead
from pipeline.mapping.known import saved_key
from pipeline.rows.enrichment import Enrichment
from pipeline.rows.row_reads import SourceAway
from pipeline.tenants.in_force import NotReady, RouteInForce, TenantsInForce

LETTERS_S = 366 * 86_400.0
"""So long the record of a delivery stays that ended in part."""

log = structlog.get_logger()


@dataclass(slots=True)
class Item:
    """A delivery that a lane holds. known: its record, None where it must be read; held: see `Waiting`."""

    message: Message
    id: DeliveryId
    known: Known | None
    held: int = 0
    progress: Progress = field(default_factory=lambda: Progress({}))
    apart: bool = False
    """It came by its route's own consumer."""
    shed: bool = False
    """Its message is without its payload, but in its turns."""

    def shed_payload(self) -> None:
        self.message, self.shed = self.message.with_payload(b""), True


@dataclass(frozen=True, slots=True)
class Services:
    """What deliveries need. deadline_s: where the route does not say; worker: our name, for records."""

    tenants: TenantsInForce
    records: RetryRecords
    objects: ObjectStore
    dead_letters: DeadLetterStore
    attempts: AttemptsLog
    settling: Settling
    enrichment: Enrichment
    saved: SavedValues
    deadline_s: float
    worker: str


@dataclass(frozen=True, slots=True)
class LaneHooks:
    """What a lane wants to know.

    check: raises where the lane is no longer ours. sent: the connection is not needed any more, with what came of it
    (None: nothing was sent; NotReady: nothing can be); may be called again. over: the ERP has it, or its dead letter is
    written; it is only to be settled still. stands: its dead letter finds no room, and its route stands until `over`.
    paused_s: how long its route was paused, all in all. buried: its dead letter is written.
    """

    check: Callable[[], None]
    sent: Callable[[int, Outcome | NotReady | None], None]
    over: Callable[[int], None]
    stands: Callable[[int], None]
    paused_s: Callable[[DeliveryId], float]
    buried: Callable[[Item], None]


class Delivery:
    """One lane's deliveries."""

    def __init__(self, services: Services, acks: Acks, hooks: LaneHooks) -> None:
        self.services = services
        self.acks = acks
        self.hooks = hooks
        self._waits = RepeatedLines()

    async def event_of(self, message: Message) -> dict[str, Any]:
        """The event behind a delivery. Raises EventInvalid, ObjectMissing, ObjectDamaged."""
        name = message.headers.get(HEADER_OBJECT)
        if name is None:
            return decode_event(message.payload)
        return decode_event(await persist(self.hooks.check, lambda: self.services.objects.get(name)))

    async def turn(self, item: Item) -> Ending:
        """Raises what `check` raises, ConnectionLost, JetStreamError."""
        known, found = item.known, None
        if known is SETTLED_BEFORE:
            return await Performance(self, item, None).of(settle())
        if item.id.first and known == Known():
            known = None  # what the first delivery had finished is in its record
        try:
            found = self.services.tenants.find(item.id.tenant, item.id.route)
            if found is None:
                found = await self._find_again(item)
            if found is None:
                problem = Problem("removed", "the tenant has no such route any more")
                return await self._bury(item, DeadLetter("removed", problem))
            # jitter spreads retries, it keeps no secret
            jitter = random.uniform(-1, 1)  # noqa: S311
            turn = take_turn(self._rules(item, found), known, item.held, time.time, jitter)
            return await Performance(self, item, found).of(turn)
        except (NotReady, SourceAway, RendererBroken) as error:
            reason = error if isinstance(error, NotReady) else NotReady(str(error))
            if found is None and time.time() >= self.deadline(item, None):
                return await self._bury(item, DeadLetter("expired", Problem("expired", str(reason))))
            tenant, route = item.id.tenant, item.id.route
            if self._waits.worth(tenant, route, str(reason), time.monotonic()):
                log.warning(
                    "a route cannot deliver yet; its deliveries wait",
                    tenant=tenant,
                    route=route,
                    reason=str(reason),
                )
            self.hooks.sent(item.id.seq, reason)
            return Waiting(time.time(), known, item.held)

    async def crashed(self, item: Item, crashes: int) -> Ending:
        """Its workers ended each time it was handled."""
        problem = Problem("crashed", f"{crashes} workers ended while they handled this delivery alone")
        return await self._bury(item, DeadLetter("crashed", problem))

    async def _bury(self, item: Item, letter: DeadLetter) -> Ending:
        known = item.known
        if known is None:
            known = await persist(self.hooks.check, lambda: self.services.records.read(item.id))
        return await Performance(self, item, None).of(give_up(letter, known))

    async def _find_again(self, item: Item) -> RouteInForce | None:
        tenants = self.services.tenants
        return await persist(self.hooks.check, lambda: tenants.find_again(item.id.tenant, item.id.route))

    def _rules(self, item: Item, found: RouteInForce) -> Rules:
        return Rules(found.route.retry, self.deadline(item, found), found.connection.breaker.open_s)

    def deadline(self, item: Item, found: RouteInForce | None) -> float:
        """Seconds since the epoch."""
        seconds = found.route.deadline_s if found else None
        allowed = self.services.deadline_s if seconds is None else seconds
        return item.message.time + allowed + self.hooks.paused_s(item.id)


class Performance:
    """One turn's performance: what its steps leave for one another."""

    def __init__(self, delivery: Delivery, item: Item, found: RouteInForce | None) -> None:
        self._delivery = delivery
        self._services = delivery.services
        self._hooks = delivery.hooks
        self._item = item
        self._found = found
        self._known = item.known or Known()
        self._preparation: Preparation | None = None

    async def of(self, turn: Turn) -> Ending:
        answer: Any = None
        try:
            while True:
                answer = await self._answer(turn.send(answer))
        except StopIteration as end:
            ending: Ending = end.value
            if isinstance(ending, Waiting) and ending.goes_on and self._preparation is not None:
                self._preparation.keep_facts()
            return ending

    async def _answer(self, step: Step) -> Any:
        match step:
            case ReadRecord():
                return await self._read_record()
            case WriteRecord():
                return await self._write_record(step)
            case Render(then):
                return await self._render_then() if then else await self._render()
            case Send():
                return await self._send()
            case Report():
                return self._report(step)
            case Save():
                return await self._save()
            case Bury():
                return await self._bury(step)
            case Settle():
                return await self._settle(step)
            case _:
                assert_never(step)

    async def _read_record(self) -> Known:
        self._known = await persist(self._hooks.check, lambda: self._services.records.read(self._item.id))
        return self._known

    async def _write_record(self, step: WriteRecord) -> int | None:
        self._hooks.check()
        until = self._delivery.deadline(self._item, self._found)
        if step.stays:
            until = max(until, time.time() + LETTERS_S)
        revision = await self._services.records.write(self._item.id, step.record, step.expected, until)
        if revision is not None:
            self._known = Known(step.record, revision)
        return revision

    async def _save(self) -> None:
        assert self._preparation is not None
        item, values = self._item, self._preparation.save
        key = saved_key((await self._delivery.event_of(item.message)).get("key"))

        def save() -> Awaitable[None]:
            return self._services.saved.save(item.id.tenant, item.id.route, key, item.id.event_seq, values)

        try:
            await persist(self._hooks.check, save)
        except (SaveRefused, JetStreamError) as error:
            log.warning("not saved", delivery_id=item.id.text, problem=str(error))

    async def _bury(self, step: Bury) -> None:
        self._hooks.sent(self._item.id.seq, None)
        item, message = self._item, self._item.message
        payload = b"" if HEADER_OBJECT in message.headers else message.payload
        version = self._preparation.mapping.facts.version if self._preparation else None
        letter = dead_letter(item.id, payload, step.letter, step.record, version)
        hooks = WriteHooks(self._hooks.check, partial(self._hooks.stands, item.id.seq))
        headers = own_headers(message.header_block) + letter_headers(step.letter)
        await self._services.dead_letters.write(item.id, letter, headers, hooks)
        self._hooks.buried(item)
        self._hooks.over(item.id.seq)
        log.warning(
            "dead letter",
            delivery_id=item.id.text,
            delivery_seq=item.id.seq,
            reason=step.letter.reason,
            error=step.letter.problem.message,
        )

    async def _settle(self, step: Settle) -> None:
        self._hooks.sent(self._item.id.seq, None)
        self._hooks.check()
        item = self._item
        if step.reason is None:
            await self._delivery.acks.confirmed(item.message)
        else:
            reason = f"{step.reason} {item.id.tenant}/{item.id.route}"
            await persist(self._hooks.check, lambda: self._services.settling.terminate(item.message, reason))
        if step.forgets and self._known.revision:
            await self._services.records.forget(item.id, self._known.revision)

    async def _render(self) -> NextOne:
        found, item, tenants = self._found, self._item, self._services.tenants
        assert found is not None
        if self._preparation is None:
            self._preparation = Preparation(
                item.id,
                await tenants.mapping(found),
                await tenants.connector(found),
                Reads(self._services.enrichment, self._saved, found.tenant.key),
                item.progress,
            )
        try:
            return await self._preparation.next(self._known.record, self._input)
        except (EventInvalid, ObjectMissing, ObjectDamaged) as error:
            return Problem("event", str(error))
        except (NotReady, SourceAway, RendererBroken, LeaseLost, EventBusError):
            raise
        except Exception as error:  # a defect of ours must not stop the lane: it is this delivery's end
            log.exception("a mapping failed in a way it must not", delivery_id=item.id.text)
            return Problem("defect", f"{type(error).__name__}: {error}")

    async def _render_then(self) -> NextOne:
        try:
            return await self._render()
        except (NotReady, SourceAway, RendererBroken) as error:
            return Later(str(error))

    async def _input(self) -> RenderInput:
        assert self._found is not None
        event = await self._delivery.event_of(self._item.message)
        return render_input(self._item, event, self._found)

    async def _saved(self, read: SavedRead) -> Any:
        saved = self._services.saved
        of_key = await persist(
            self._hooks.check, lambda: saved.read(self._item.id.tenant, read.route, read.key)
        )
        return of_key[read.name].value if read.name in of_key else None

    async def _send(self) -> Sent:
        ready = self._preparation
        assert ready is not None
        assert ready.prepared is not None
        self._hooks.check()
        began = time.time()
        try:
            heard = await ready.connector.send(ready.prepared, self._hooks.check)
        except LeaseLost:
            raise
        except Exception as error:  # it may have been sent
            log.exception("a connector failed in a way it must not", delivery_id=self._item.id.text)
            # its text may quote a secret
            heard = Uncertain(f"a defect of ours: {words(error)}", code="defect")
        ended = time.time()
        outcome = await ready.classified(heard, self._hooks.check)
        # that the endpoint takes no more for now may be the mapping's word alone
        turned_away = isinstance(outcome, Throttled | Unavailable)
        self._hooks.sent(self._item.id.seq, outcome if turned_away else heard)
        return Sent(outcome, began, ended, reads_again=ready.reads_again(outcome))

    def _report(self, step: Report) -> None:
        if isinstance(step.disposition, Ack):
            self._hooks.over(self._item.id.seq)
        now = time.time()
        sent = step.sent or Sent(Uncertain(""), now, now)
        ready = self._preparation
        self._services.attempts.write(
            Attempt(
                delivery=self._item.id,
                number=step.number,
                outcome=step.sent.outcome if step.sent else None,
                disposition=step.disposition,
                began=sent.began,
                ended=sent.ended,
                mapping_version=ready.mapping.facts.version if ready else "",
                worker=self._services.worker,
                step=step.step,
                lookup=step.lookup,
            )
        )


def render_input(item: Item, event: dict[str, Any], found: RouteInForce) -> RenderInput:
    """What the route's mapping is told of a delivery."""
    return RenderInput(
        event=event,
        tenant=item.id.tenant,
        route=item.id.route,
        params=dict(found.route.params),
        delivery_id=item.id.text,
        timezone=found.tenant.timezone,
        named=HEADER_BACKFILL_ROUTE in item.message.headers,
        payload=b"" if HEADER_OBJECT in item.message.headers else item.message.payload,
    )


def delivery_id(message: Message, subject: DeliverySubject) -> DeliveryId:
    """Which delivery a message is."""
    headers = message.headers
    event_seq = headers.get(HEADER_EVENT_SEQ, "0")
    first = headers.get(HEADER_REPLAY, "0")
    return DeliveryId(
        tenant=subject.tenant,
        route=subject.route,
        event_id=headers.get(HEADER_EVENT_ID, ""),
        event_seq=int(event_seq) if event_seq.isdecimal() else 0,
        seq=message.seq,
        new_key=headers.get(HEADER_REPLAY_KEY, ""),
        first=int(first) if first.isdecimal() and HEADER_REPLAY_KEY not in headers else 0,
    )


def own_headers(block: bytes) -> bytes:
    """The lines that a delivery carries of ours."""
    lines = block.split(b"\r\n")[1:]
    return b"".join(line + b"\r\n" for line in lines if line.startswith(b"Bridge-"))
