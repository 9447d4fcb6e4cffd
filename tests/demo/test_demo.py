"""The whole way: what people see first, and what must hold whatever is killed on the way."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from bridge.demo.scenario import Demo, Options, running

pytestmark = pytest.mark.timeout(300)
KILLS = 12


async def test_the_command_judges_its_own_run_and_says_so_as_json() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "demo", "--events", "60", "--exit", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    assert process.returncode == 0
    assert len(lines) == 1
    summary = json.loads(lines[0])
    assert summary["committed"] == 60
    assert summary["lost"] == summary["doubled"] == summary["misordered"] == summary["unplanned"] == 0
    assert summary["delivered"] + summary["dead_lettered"] == summary["wanted"] > 0


@pytest.mark.slow
async def test_nothing_is_lost_doubled_or_reordered_while_processes_are_killed(tmp_path: Path) -> None:
    options = Options(tmp_path, events=1_500, rate=25.0, seed=random.randrange(10**6))
    async with running(options, print) as demo:
        killing = asyncio.ensure_future(_kill_at_random(demo, random.Random(options.seed)))
        verdict = await demo.run(asyncio.Event(), lambda _: None)
        killed = await killing
    assert len(killed) == KILLS
    assert verdict.holds, f"seed {options.seed}, killed {killed}: {verdict}"
    assert verdict.committed == 1_500


async def _kill_at_random(demo: Demo, rng: random.Random) -> list[str]:
    """Capture, router, worker and nats-server, whoever it hits, by their process ids."""
    killed: list[str] = []
    while len(killed) < KILLS:
        await asyncio.sleep(rng.uniform(1.0, 6.0))
        children = _children(demo.bridge.pid)
        if children:
            pid, command = rng.choice(children)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(command)
    return killed


def _children(parent: int) -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                ppid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if ppid == parent:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append((int(folder.name), command))
    return found
