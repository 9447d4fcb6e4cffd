"""A worker with thousands of tenants is not held up by Python's collector."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.collector import look_seldom


@pytest.fixture
def full_looks() -> Iterator[list[dict[str, Any]]]:
    """Each time that everything was looked at."""
    thresholds, found = gc.get_threshold(), list[dict[str, Any]]()

    def look(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop" and info["generation"] == 2:
            found.append(info)

    gc.callbacks.append(look)
    yield found
    gc.callbacks.remove(look)
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def opened(count: int) -> list[object]:
    """What stays, as connections do that are opened one after the other: the collector has to follow each."""
    return [{"of": [number]} for number in range(count)]


def test_what_grows_afterwards_is_not_looked_at_as_a_whole(full_looks: list[dict[str, Any]]) -> None:
    before = opened(100_000)
    assert full_looks
    look_seldom()
    frozen = gc.get_freeze_count()
    full_looks.clear()
    grown = opened(500_000)
    assert frozen > len(before)
    assert not full_looks
    del grown


def test_young_garbage_in_cycles_is_still_found() -> None:
    class Ring:
        ended = 0

        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            Ring.ended += 1

    thresholds = gc.get_threshold()
    try:
        look_seldom()
        for _ in range(50_000):
            Ring()
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert Ring.ended > 20_000
