"""Children that die are started again, stop in order, and end with us."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bridge import supervisor as module
from bridge.process_output import ProcessOutput
from bridge.supervisor import Program, StartRefused, Supervisor, restart_delay

READY = "from bridge.readiness import notify_ready; notify_ready(); "
WAIT = "import signal; signal.pause()"
DEADLINE_S = 20


def program(name: str, code: str, *, decides: bool = False) -> Program:
    return Program(name, (sys.executable, "-c", code), decides)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 — other processes set no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    *stages: list[Program],
) -> AsyncIterator[tuple[Supervisor, io.StringIO, Callable[[], Awaitable[None]]]]:
    said = io.StringIO()
    supervisor = Supervisor(stages, ProcessOutput((), said, as_json=False))
    stop = asyncio.Event()
    work = asyncio.ensure_future(supervisor.run(stop, within=5))

    async def stopped() -> None:
        stop.set()
        await asyncio.wait_for(work, DEADLINE_S)

    try:
        yield supervisor, said, stopped
    finally:
        stop.set()
        await asyncio.wait((work,), timeout=DEADLINE_S)


async def test_a_child_killed_with_sigkill_runs_again_and_becomes_ready_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.05)
    async with running([program("worker", READY + WAIT)]) as (supervisor, said, stopped):
        assert await supervisor.settled() == []
        (child,) = supervisor.children
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.ready and child.pid not in (None, first))
        await stopped()
        assert child.pid is None
        assert "worker │ ended with SIGKILL; starting again in 0.05 s" in said.getvalue()


async def test_stages_stop_one_after_the_other_and_what_children_say_bears_their_name(tmp_path: Path) -> None:
    order = tmp_path / "order"

    def stage(name: str) -> list[Program]:
        code = (
            "import signal, sys, time\n"
            f"def end(*_):\n    open({str(order)!r}, 'a').write('{name} '); print('bye', flush=True); sys.exit()\n"
            f"signal.signal(signal.SIGTERM, end)\n{READY}\nsignal.pause()"
        )
        return [program(name, code)]

    async with running(stage("capture"), stage("router"), stage("worker")) as (supervisor, said, stopped):
        await supervisor.settled()
        await stopped()
    assert order.read_text() == "capture router worker "
    assert "capture │ bye" in said.getvalue()


async def test_a_child_that_does_not_stop_is_killed_and_its_password_stays_out_of_the_output() -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('postgresql://u:geheim@h/db', flush=True); " + READY + "\nwhile True: signal.pause()"
    )
    said = io.StringIO()
    supervisor = Supervisor([[program("capture", code)]], ProcessOutput((), said, as_json=False))
    stop = asyncio.Event()
    work = asyncio.ensure_future(supervisor.run(stop, within=0.2))
    await supervisor.settled()
    stop.set()
    await asyncio.wait_for(work, DEADLINE_S)
    assert "is killed" in said.getvalue()
    assert "geheim" not in said.getvalue()


@pytest.mark.parametrize("status", [2, 3])
async def test_a_start_that_is_refused_ends_everything_with_its_status(status: int) -> None:
    stages = [[program("capture", f"raise SystemExit({status})")], [program("worker", READY + WAIT)]]
    supervisor = Supervisor(stages, ProcessOutput((), io.StringIO(), as_json=False))
    with pytest.raises(StartRefused, match="capture") as refused:
        await asyncio.wait_for(supervisor.run(asyncio.Event(), within=5), DEADLINE_S)
    assert refused.value.status == status
    assert all(child.pid is None for child in supervisor.children)


async def test_what_needs_a_decision_stands_and_the_others_run() -> None:
    capture = program("capture", "print('gap'); raise SystemExit(1)", decides=True)
    async with running([capture], [program("worker", READY + WAIT)]) as (supervisor, said, stopped):
        standing = await asyncio.wait_for(supervisor.settled(), DEADLINE_S)
        assert [child.program.name for child in standing] == ["capture"]
        await stopped()
        assert "needs a decision (it says which above); starting again in 60 s" in said.getvalue()


def test_the_message_with_which_a_command_ends_is_an_error_to_machines() -> None:
    said = io.StringIO()
    output = ProcessOutput((), said, as_json=True)
    output.say("capture", "bridge: slot shop can no longer be read. Ways on:")
    output.say("capture", "  - `bridge cdc drop`")
    assert [json.loads(line)["level"] for line in said.getvalue().splitlines()] == ["error", "info"]


async def test_children_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = f"import os; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); " + WAIT
    parent = (
        "import asyncio, io, sys\n"
        "from bridge.process_output import ProcessOutput\n"
        "from bridge.supervisor import Program, Supervisor\n"
        f"program = Program('worker', (sys.executable, '-c', {child!r}))\n"
        "asyncio.run(Supervisor([[program]], ProcessOutput(())).run(asyncio.Event(), 5))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    await until(lambda: pids.exists() and pids.read_text().endswith(" "))
    pid = int(pids.read_text())
    process.kill()
    await process.wait()
    await until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (3, 2.0), (20, 30.0), (10_000, 30.0)])
def test_the_pause_grows_to_half_a_minute(failures: int, delay: float) -> None:
    assert restart_delay(failures) == delay
