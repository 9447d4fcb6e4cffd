"""Many runs of a world, over the machine's cores; the first that violates an invariant is shown with its history.

To repeat one seed, in this process and under a debugger: `SIMULATION_SEED=4711 .venv/bin/pytest tests/simulation -k capture`.
"""

import gc
import os
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

from tests.simulation.chronicle import Violated

EVERYDAY = 10_000
ONE_SEED = "SIMULATION_SEED"
_CHUNK = 200
Run = Callable[[int], None]
"""Plays one seed; a function of a module, so that another process finds it. Raises Violated."""


class Seeds:
    """`processes`: where to play them."""

    def __init__(self, processes: ProcessPoolExecutor) -> None:
        self._processes = processes

    def hold(self, run: Run, seeds: range) -> None:
        """Raises Violated, with the history of the first seed that was found to fail."""
        one = os.environ.get(ONE_SEED)
        if one is not None:
            run(int(one))
            return
        chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
        playing = [self._processes.submit(_play, run, chunk) for chunk in chunks]
        try:
            for chunk in wait(playing, return_when=FIRST_EXCEPTION).done:
                chunk.result()
        finally:
            for chunk in playing:
                chunk.cancel()


def first_violation(run: Run, seeds: range) -> Violated:
    """Of a mutant, in this process: it stops at the first. Raises AssertionError where none of the seeds finds it."""
    for seed in seeds:
        try:
            run(seed)
        except Violated as violated:
            return violated
    raise AssertionError(
        f"nothing is violated in {len(seeds)} seeds: the rule is not needed, or not simulated"
    )


def _play(run: Run, seeds: range) -> None:
    gc.set_threshold(100_000)
    for seed in seeds:
        try:
            run(seed)
        except Violated:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the seed tells how to see it again
            raise Violated(f"seed {seed}: fails\n{traceback.format_exc()}") from None
