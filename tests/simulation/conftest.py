"""The processes in which seeds are played: started once a run, when the first test asks."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.seeds import Seeds


@pytest.fixture(scope="session")
def seeds() -> Iterator[Seeds]:
    # not forked: the servers' fixtures have threads and sockets that are nothing for a copy
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as processes:
        yield Seeds(processes)
