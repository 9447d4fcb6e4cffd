"""The processes in which tenants' text is compiled and rendered, and which of them does what.

Two ordinary children: the first does what it can, the second what is over, and everything while the first is held up.
One apart, for tenants whose text took more than it may: what ends it again holds up nobody else. Tasks are stateless, so
what a child leaves when it ends is given to another; whose fault that was says `blame`.
"""

import asyncio
import time
from collections.abc import Iterable

import structlog

from connectors.registry import shadowed
from pipeline.jail.blame import Blame
from pipeline.jail.frames import Answer, Failed, Invalid, Lacking, Result
from pipeline.jail.place import Call, Place, Work
from pipeline.jail.process import RenderProcess, StartFailed
from pipeline.jail.turns import Apart, TurnsQueue
from pipeline.metrics import RENDERERS

WINDOW = 24
"""Tasks given to a child at once: enough that it never waits, few enough that they are soon given to another."""
LOOK_S = 0.02
NICE = 10
"""The child apart gives way to everybody else on the machine."""
PATIENCE_S = 10.0
"""So long tasks wait for a child that does not come up."""
AGAIN_S = 0.2
SPARE_S = 1.0
"""So long after the first child the second one is started, that it is there when it is needed."""
MOST_DEATHS = {Blame.TENANT: 1, Blame.UNSURE: 2, Blame.NOBODY: 3}

MOST_MOVES = 100

log = structlog.get_logger()


class RendererBroken(Exception):
    """No child can be had, or they are killed from outside: neither the event's fault nor the mapping's."""


class RenderPool:
    """Of one event loop; children are started when they are needed, and end with this process."""

    def __init__(self) -> None:
        self._ordinary = (Place(WINDOW), Place(WINDOW))
        self._apart_place = Place(1, NICE)
        self._waiting: TurnsQueue[Call] = TurnsQueue()
        self._waiting_apart: TurnsQueue[Call] = TurnsQueue()
        self._apart = Apart()
        self._looking: asyncio.TimerHandle | None = None
        self._spare: asyncio.TimerHandle | None = None
        self._pumping = False
        self._closed = False
        for remark in shadowed():
            log.warning("a plug-in is not used", because=remark)

    async def do(self, tenant: str, work: Work) -> Answer:
        """Raises RendererBroken."""
        if self._closed:
            raise RendererBroken("the renderers are stopped")
        loop = asyncio.get_running_loop()
        call = Call(tenant, work, loop.create_future(), time.monotonic())
        self._queue_of(call).add(tenant, call)
        self._pump_soon()
        return await call.answer

    async def warm_up(self) -> None:
        """Returns when there is a child, or none comes up for long: who asks afterwards need not wait for it."""
        first = self._ordinary[0]
        self._start(first, self._waiting)
        if first.starting is not None:
            await asyncio.wait([first.starting], timeout=PATIENCE_S)

    async def aclose(self) -> None:
        """Ends every child, now."""
        self._closed = True
        for timer in (self._looking, self._spare):
            if timer is not None:
                timer.cancel()
        for place in self._places:
            if place.starting is not None:
                place.starting.cancel()
                await asyncio.wait([place.starting])
            if place.child is not None:
                await place.child.aclose()
            self._break(place.under_way.values(), "the renderers are stopped")
        for queue in (self._waiting, self._waiting_apart):
            self._break(_all_of(queue), "the renderers are stopped")

    @property
    def _places(self) -> tuple[Place, ...]:
        return (*self._ordinary, self._apart_place)

    def _queue_of(self, call: Call) -> TurnsQueue[Call]:
        if call.work.waits and self._apart.holds(call.tenant, time.monotonic()):
            return self._waiting_apart
        return self._waiting

    # ── Giving ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _pump_soon(self) -> None:
        if not self._pumping and not self._closed:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closed:
            return
        first, second = self._ordinary
        self._fill(first, self._waiting)
        if second.child is not None or not first.is_coming:
            self._fill(second, self._waiting)
        self._fill(self._apart_place, self._waiting_apart)
        if self._looking is None and any(place.under_way for place in self._places):
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _fill(self, place: Place, queue: TurnsQueue[Call]) -> None:
        if queue:
            self._start(place, queue)
        while queue and place.takes:
            call = queue.take()
            if not call.answer.done():
                place.give(call)

    def _start(self, place: Place, queue: TurnsQueue[Call]) -> None:
        if place.child is None and place.starting is None and not self._closed:
            place.starting = asyncio.create_task(self._bring_up(place, queue))

    async def _bring_up(self, place: Place, queue: TurnsQueue[Call]) -> None:
        """Until there is a child. A start that fails is ours to mend: who waits is told so after a while."""
        while True:
            try:
                child = await RenderProcess.start(self, place.nice)
                if child.died_of is not None:
                    raise StartFailed(f"the renderer ended as soon as it was there, by {child.died_of}")
            except (StartFailed, OSError) as error:
                place.failing = True
                log.error("a renderer cannot be started", error=str(error))  # noqa: TRY400 — the error says it all
                self._break(
                    _older(queue, time.monotonic() - PATIENCE_S), f"renderers cannot be started: {error}"
                )
                self._pump_soon()
                await asyncio.sleep(AGAIN_S)
            else:
                place.starting = None
                place.moved_in(child)
                self._pump_soon()
                if place is self._ordinary[0]:
                    second = self._ordinary[1]
                    self._spare = asyncio.get_running_loop().call_later(
                        SPARE_S, self._start, second, self._waiting
                    )
                return

    def _break(self, calls: Iterable[Call], why: str) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(RendererBroken(why))

    # ── Hearing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def answered(self, child: RenderProcess, answer: Answer) -> None:
        """See Listener."""
        place = self._place_of(child)
        call = None if place is None else place.answered(answer.number)
        self._pump_soon()
        if call is None or place is None:
            return
        if isinstance(answer, Lacking):
            place.lacks(answer, call.work.digest)
            self._queue_of(call).again(call.tenant, call)
            return
        if isinstance(answer, Failed | Invalid | Result) and answer.strain:
            self._put_apart(call.tenant, "it took more than one event may cost")
        _tell(call, answer)

    def ended(self, child: RenderProcess) -> None:
        """See Listener."""
        place = self._place_of(child)
        if place is None or child.died_of is None:
            return  # it did not come to anything: see `_bring_up`
        fault = Blame.of(child.died_of, misspoke=child.misspoke)
        culprit, rest = place.moved_out()
        self._move(rest)
        if place is not self._apart_place:
            self._start(place, self._waiting)
        RENDERERS.labels(fault.name.lower()).inc()
        if culprit is not None:
            self._bury(culprit, fault, child.died_of)
        self._pump_soon()

    def _bury(self, culprit: Call, fault: Blame, died_of: int) -> None:
        log.warning("a renderer ended", tenant=culprit.tenant, died_of=died_of, fault=fault.name.lower())
        culprit.deaths += 1
        if fault is not Blame.NOBODY:
            self._put_apart(culprit.tenant, "it ended the process that rendered it")
        if culprit.deaths < MOST_DEATHS[fault]:
            self._queue_of(culprit).again(culprit.tenant, culprit)
        elif fault is Blame.NOBODY:
            self._break([culprit], f"the renderers are killed from outside, the last one by signal {died_of}")
        else:
            words = (
                "more computing than one event may cost"
                if fault is Blame.TENANT
                else f"ended the renderer ({died_of})"
            )
            _tell(culprit, Failed(0, "limit", words, ("", 1, 1), strain=True))

    def _move(self, calls: list[Call]) -> None:
        """They were given to a child that will not answer them, through no doing of theirs."""
        for call in reversed(calls):
            call.moves += 1
            if call.moves > MOST_MOVES:
                self._break([call], f"{MOST_MOVES} renderers ended before they came to it")
            else:
                self._queue_of(call).again(call.tenant, call)

    def _put_apart(self, tenant: str, why: str) -> None:
        if not tenant:
            return  # a command asks one thing after the other, and is told by its error
        now = time.monotonic()
        if not self._apart.holds(tenant, now):
            log.warning("a tenant is rendered for apart", tenant=tenant, because=why)
        self._apart.put(tenant, now)
        for call in self._waiting.withdraw(tenant):
            self._queue_of(call).add(tenant, call)

    def _place_of(self, child: RenderProcess) -> Place | None:
        return next((place for place in self._places if place.child is child), None)

    # ── Looking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """While something is under way: does one task hold up others?"""
        self._looking = None
        for place in self._places:
            if place.child is None or not place.under_way:
                continue
            if place.is_held_up():
                culprit, rest = place.hold_up()
                self._put_apart(culprit.tenant, "it computes so long that others would wait")
                self._move(rest)
            elif place.is_still():
                place.child.kill()
        self._pump_soon()


def _tell(call: Call, answer: Answer) -> None:
    if not call.answer.done():
        call.answer.set_result(answer)


def _older(queue: TurnsQueue[Call], since: float) -> list[Call]:
    """Takes out those that wait since before then."""
    calls = _all_of(queue)
    for call in calls:
        if call.since >= since:
            queue.add(call.tenant, call)
    return [call for call in calls if call.since < since]


def _all_of(queue: TurnsQueue[Call]) -> list[Call]:
    calls = []
    while queue:
        calls.append(queue.take())
    return calls
