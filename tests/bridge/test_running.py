"""Signals: the first lets a service drain, a second one ends it at once, and so does the time it has."""

import signal
import subprocess
import sys

import pytest

SERVICE = """
import asyncio
from bridge.cli.running import run_service

async def service(stop):
    print("begun", flush=True)
    await stop.wait()
    print("draining", flush=True)
    {drain}
    return "drained"

print(run_service(service, {within}), flush=True)
"""


def started(drain: str, within: float) -> subprocess.Popen[str]:
    code = SERVICE.format(drain=drain, within=within)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def after(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_ends_with_0(number: signal.Signals) -> None:
    process = started("await asyncio.sleep(0.1)", within=20)
    process.send_signal(number)
    status, out, err = after(process)
    assert (status, out) == (0, "draining\ndrained\n")
    assert number.name in err
    assert "Traceback" not in err


def test_what_is_not_drained_in_time_is_left() -> None:
    process = started("await asyncio.sleep(60)", within=0.1)
    process.send_signal(signal.SIGTERM)
    status, out, err = after(process)
    assert (status, out) == (0, "draining\nNone\n")
    assert "not drained in time" in err


def test_a_second_signal_exits_at_once() -> None:
    process = started("await asyncio.sleep(60)", within=60)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "draining\n"
    process.send_signal(signal.SIGINT)
    assert after(process)[0] == 128 + signal.SIGINT


def test_many_names_are_resolved_side_by_side() -> None:
    code = """
import asyncio
from pathlib import Path
from bridge.cli.running import run_service

async def threads(stop):
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    return len(list(Path("/proc/self/task").iterdir()))

print(run_service(threads, 5))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) > 64
