"""Trouble for who tries a mapping: every third request meets it, so that what was hit is seen to arrive later."""

import asyncio
from collections.abc import Callable

from bridge.demo.erp_server import Call, Reply, Step

EVERY = 3
SLOW_S = 20.0
"""Longer than most connections wait, shorter than the default `timeout` of 30 s."""


def trouble(kind: str) -> Callable[[Call], Step]:
    """kind: one of KINDS."""
    happens = KINDS[kind]
    met = 0

    def step(_call: Call) -> Step:
        nonlocal met
        met += 1
        return Step() if met % EVERY else happens()

    return step


def _throttled() -> Step:
    return Step(Reply(429, {"message": "Too many requests"}, {"Retry-After": "2"}))


def _unavailable() -> Step:
    return Step(Reply(503, {"message": "Down for maintenance"}, {"Retry-After": "2"}))


def _slow() -> Step:
    held = asyncio.Event()
    asyncio.get_running_loop().call_later(SLOW_S, held.set)
    return Step(hold=held)


def _cut() -> Step:
    return Step(cut="after")


KINDS = {"throttled": _throttled, "unavailable": _unavailable, "slow": _slow, "cut": _cut}
"""429; 503; an answer after SLOW_S; the request is done and its answer lost."""
