"""Two operators replay the same dead letters, killed again and again, and so is nats-server: each is sent once, in order."""

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from pipeline.dlq.tombstone import read_tombstone
from tests.bridge.dlq_cli import Cli
from tests.pipeline.burying import Graveyard
from tests.pipeline.delivering import eventually

ROOT = Path(__file__).parents[2]
LETTERS = 1_500


async def many(graves: Graveyard) -> None:
    for key in range(LETTERS):
        await graves.bury(key % 7)


def operator() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bridge", "dlq", "replay", "--all"]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
async def test_whatever_is_killed_each_is_sent_once_and_in_order(
    own_nats: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bridge = Cli(tmp_path, own_nats.url, "")
    await asyncio.to_thread(bridge, "tenant", "apply")
    await asyncio.to_thread(bridge.bury, many)
    chance, left = random.Random(7), LETTERS

    async def open_ones() -> int:
        return len(await asyncio.to_thread(bridge.json, "dlq", "list"))

    for kills in range(5):
        operators = [operator(), operator()]
        await eventually(open_ones, left.__gt__, within=60)
        # where in their work they are killed is chance: there is nothing to await
        await asyncio.sleep(chance.uniform(0, 0.2))
        if kills in (1, 3):
            await own_nats.kill()
            await own_nats.start()
        for one in operators:
            one.kill()
            one.wait()
        left = await open_ones()
    assert left, "the operators were done before they were killed"
    last = await asyncio.to_thread(operator)
    assert await asyncio.to_thread(last.wait, 60) == 0
    assert await open_ones() == 0
    copies = await asyncio.to_thread(bridge.copies)
    originals = [int(copy.headers["Bridge-Replay"]) for copy in copies]
    assert originals == sorted(set(originals))
    assert len(originals) == LETTERS
    tombstones = await asyncio.to_thread(bridge.stored, "DLQ")
    found = [read_tombstone(one.headers, one.payload) for one in tombstones]
    assert sorted(one.replayed or 0 for one in found if one is not None) == [copy.seq for copy in copies]


@pytest.mark.slow
async def test_who_loses_the_server_is_told_how_far_it_came(
    own_nats: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bridge = Cli(tmp_path, own_nats.url, "")
    await asyncio.to_thread(bridge, "tenant", "apply")
    await asyncio.to_thread(bridge.bury, three)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "dlq", "replay", "--all", "--rate", "20/m"),
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    assert await running.stdout.readline() == b"acme/orders/1: replayed as delivery 5\n"
    await own_nats.kill()
    _, said = await running.communicate()
    assert running.returncode == 3
    assert b"1 replayed, 0 skipped, 0 failed; stopped, 2 are left: the same command goes on" in said


async def three(graves: Graveyard) -> None:
    for key in range(3):
        await graves.bury(key)
