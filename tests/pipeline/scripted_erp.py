"""An ERP with a temper: what it does to each request, and what it heard, as the checker wants to know it."""

import asyncio
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Call, Reply, Step
from tests.pipeline.delivery_checker import Asked

BUSY = Reply(500, {"message": "deadlock"})
DOWN = Reply(503, {"message": "Down for maintenance"})
NO = Reply(422, {"message": "no such cost centre"})
TOO_MANY = Reply(429, {"message": "slow down"}, {"Retry-After": "1"})

Temper = Callable[[Call], Step]


def calm(_call: Call) -> Step:
    return Step()


def flapping(seed: int) -> Temper:
    """Half of its requests find it down."""
    chance = random.Random(seed)
    return lambda _call: Step(DOWN if chance.random() < 0.5 else None)


def throttling(every: int) -> Temper:
    """It is too much for it now and then: 429, Retry-After."""
    return _every(every, Step(TOO_MANY))


def cutting(every: int) -> Temper:
    """Now and then it does what it is asked for, and its answer is lost."""
    return _every(every, Step(cut="after"))


def refusing(poison: Collection[int]) -> Temper:
    """It refuses these for good."""
    return lambda call: Step(NO if call.body["n"] in poison else None)


def down(_call: Call) -> Step:
    return Step(DOWN)


def hanging(until: asyncio.Event) -> Temper:
    """It answers nobody until then."""
    return lambda _call: Step(hold=until)


def _every(every: int, step: Step) -> Temper:
    turns = 0

    def fate(_call: Call) -> Step:
        nonlocal turns
        turns += 1
        return Step() if turns % every else step

    return fate


@dataclass
class _Hearing:
    """A request, from when it was heard on."""

    call: Call
    began: float
    ended: float | None = None
    status: int | None = None


class ScriptedErp(PlainErp):
    """temper: may be changed at any time. takes_s: how long each request takes it."""

    def __init__(self, temper: Temper = calm, takes_s: float = 0.0) -> None:
        super().__init__()
        self.temper = temper
        self._takes_s = takes_s
        self._heard: list[_Hearing] = []

    @property
    def asked(self) -> list[Asked]:
        """All requests, as they were heard. One that is not ended yet has no answer."""
        return [
            Asked(
                one.call.idempotency_key,
                one.call.body["n"],
                one.began,
                time.monotonic() if one.ended is None else one.ended,
                one.status,
            )
            for one in self._heard
        ]

    def fate(self, call: Call) -> Step:
        return self.temper(call)

    async def answer(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        hearing = _Hearing(call, time.monotonic())
        self._heard.append(hearing)
        if self._takes_s:
            await asyncio.sleep(self._takes_s)
        response = await super().answer(call, request)
        hearing.ended = time.monotonic()
        if request.transport is not None and not request.transport.is_closing():
            hearing.status = response.status
        self._changed.set()
        return response
