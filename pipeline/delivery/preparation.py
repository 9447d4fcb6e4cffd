"""What a delivery is about to send: the event, rendered by the mapping in force, prepared by the connector."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from connectors.classification import is_stale
from connectors.protocol import Answer, Connector, Delivered, Outcome, Prepared, RequestInvalid, RetryLater
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.disposition import Problem
from pipeline.delivery.rendering import Rendering, Rows, Saved
from pipeline.delivery.retry_record import RetryRecord
from pipeline.delivery.retry_records import PAUSE_S
from pipeline.delivery.turn import Done, Later, Rendered, SkipIt
from pipeline.jail.pool import RendererBroken
from pipeline.jail.renderer import JailedMapping
from pipeline.mapping import Done as AllSent
from pipeline.mapping import Known as Facts
from pipeline.mapping import Rendered as Request
from pipeline.mapping import RenderError, RenderInput, Skipped, Waits
from pipeline.rows.row_reads import SourceSlow

log = structlog.get_logger()

NextOne = Rendered | SkipIt | Done | Later | Problem


@dataclass(slots=True)
class Progress:
    """What a delivery has learned that outlives one of its turns.

    answers: of finished requests that change something, whole. facts: all that is known, for a turn that goes on.
    """

    answers: dict[str, Answer]
    facts: Facts | None = None
    stale: bool = False
    """The last answer to a request that changes something was that what it was made of has changed."""

    @property
    def goes_on(self) -> bool:
        """A request is done, and the next one may follow at once."""
        return self.facts is not None


@dataclass(frozen=True, slots=True)
class Reads:
    """What a mapping may ask for: rows of its source, what other deliveries saved. tenant: its key."""

    rows: Rows
    saved: Saved
    tenant: str


class Preparation:
    """Of one delivery, for one turn."""

    def __init__(
        self,
        delivery: DeliveryId,
        mapping: JailedMapping,
        connector: Connector,
        reads: Reads,
        progress: Progress,
    ) -> None:
        self.mapping = mapping
        self.connector = connector
        self.prepared: Prepared | None = None
        self.request: Request | None = None
        self.save: dict[str, Any] = {}
        self._delivery = delivery
        self._reads = reads
        self._progress = progress
        self._rendering: Rendering | None = None

    async def next(self, record: RetryRecord, given: Callable[[], Awaitable[RenderInput]]) -> NextOne:
        """given: the rendering's input, asked for once. Raises what it raises, SourceAway."""
        try:
            if self._rendering is None:
                self._rendering = self._begun(await given(), record)
            return self._of(await self._rendering.next())
        except SourceSlow as error:
            return Later(str(error))
        except RenderError as error:
            return Problem(error.class_, str(error))
        except RequestInvalid as error:
            return Problem("request", f"{self.mapping.facts.file}: {error}")

    async def classified(self, heard: Outcome, check: Callable[[], None]) -> Outcome:
        """With the mapping's word on it; what the ERP has is noted. check: raises where nobody needs it any more."""
        assert self.request is not None
        outcome = await self._judged(heard, self.request, check)
        if isinstance(outcome, Delivered) and not self.request.last:
            self._note(self.request, outcome.answer or Answer(0, {}, None))
        return outcome

    async def _judged(self, heard: Outcome, request: Request, check: Callable[[], None]) -> Outcome:
        assert self._rendering is not None
        while True:
            try:
                return await self.mapping.classify(heard, self._rendering.given, request)
            except RendererBroken as error:
                # it was sent: what it meant must not depend on a process that does not start
                log.warning(
                    "an answer waits to be judged", delivery_id=self._delivery.text, because=str(error)
                )
            except Exception:
                log.exception(
                    "a mapping's response failed in a way it must not", mapping=self.mapping.facts.name
                )
                return heard
            await asyncio.sleep(PAUSE_S)
            check()

    def _note(self, request: Request, answer: Answer) -> None:
        assert self._rendering is not None
        if request.kind == "find":
            self._rendering.know(finds={request.step: answer})
            return
        self._rendering.know(answers={request.step: answer})
        if not request.reads:
            self._progress.answers[request.step] = answer

    def reads_again(self, outcome: Outcome) -> bool:
        """Whether what was read is to be read again at once: it has changed, and that for the first time in a row."""
        assert self.request is not None
        if self.request.reads or not self.request.step:
            return False
        answer, before = outcome.answer, self._progress.stale
        self._progress.stale = isinstance(outcome, RetryLater) and answer is not None and is_stale(answer)
        return self._progress.stale and not before

    def keep_facts(self) -> None:
        """For the next turn, which goes on."""
        self._progress.facts = self._rendering.given.known if self._rendering else None

    def _begun(self, given: RenderInput, record: RetryRecord) -> Rendering:
        reads = self._reads
        rendering = Rendering(self.mapping, given, reads.rows, reads.saved, reads.tenant)
        facts, self._progress.facts = self._progress.facts, None
        if facts is None:
            if not (record.answers or record.finds or record.unsure or self._progress.answers):
                return rendering
            answers = {**record.answers, **self._progress.answers}
            facts = Facts(answers=answers, finds=dict(record.finds), unsure=record.unsure)
        rendering.known(facts)
        return rendering

    def _of(self, result: Request | Skipped | Waits | AllSent) -> NextOne:
        match result:
            case Request():
                self.request = result
                self.prepared = self.connector.prepare(
                    result.request, result.delivery_id or self._delivery.text
                )
                return Rendered(
                    safe=result.safe,
                    step=result.step,
                    reads=result.reads,
                    lookup=result.kind == "find",
                    looked_up=result.repeat == "find" and result.kind == "request",
                    last=result.last,
                )
            case Skipped(by):
                return SkipIt(by)
            case Waits():
                return Later(f"{result.file}:{result.line}: {result.message}", "wait_for")
            case AllSent():
                for problem in result.problems:
                    log.warning("not saved", delivery_id=self._delivery.text, problem=problem)
                self.save = result.save
                return Done(saves=bool(result.save))
