"""Backfills in the simulation of capture: each rule about them is needed (rules B1 to B5)."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from cdc.backfill.backfills import Backfills
from cdc.backfill.table_run import TableRun
from cdc.backfill.visibility import Replayed
from cdc.position import Mark, RunMark
from cdc.source_errors import SourceLost
from cdc.tenure import Tenure
from tests.simulation.capture_world import CaptureWorld
from tests.simulation.seeds import EVERYDAY, first_violation
from tests.simulation.simulated_backfill import ModelReader
from tests.simulation.steps import pause
from tests.simulation.writer_world import Rules


def by_lsn(reader: ModelReader) -> Replayed:
    return Replayed(reader._server.end)


def as_they_were_read(_changes: object, rows: Iterable[Any], _visible: object) -> list[Any]:
    return list(rows)


async def waits_for_nothing(_reader: ModelReader) -> None:
    await pause()


def begins_anew(tenure: Tenure, position: Any, torn: Any, after: Any = Tenure._after_torn) -> Mark:
    mark: Mark = after(tenure, position, torn)
    return mark._replace(runs=())


def ignores_labels(runs: Any, *_: object) -> Any:
    return runs


def thinks_it_is_through(run: TableRun, mark: RunMark, step: Any, after: Any = TableRun._after) -> RunMark:
    left: RunMark = after(run, mark, step)
    return msgspec.structs.replace(left, finished=True)


def is_never_through(run: TableRun, mark: RunMark, step: Any, after: Any = TableRun._after) -> RunMark:
    left: RunMark = after(run, mark, step)
    return msgspec.structs.replace(left, finished=False)


async def forgets_first(backfills: Any, run: str, *outcome: Any, end: Any = Backfills._end) -> None:
    """And is once interrupted before the record says so: most runs end when nothing is interrupted any more."""
    backfills._forget(run)
    await pause(40)
    if not backfills._world.runs[run].error:
        backfills._world.runs[run] = msgspec.structs.replace(backfills._world.runs[run], error="interrupted")
        raise SourceLost("the connection is cut")
    await end(backfills, run, *outcome)


def play(seed: int) -> None:
    """Only seeds with a backfill, and with transactions that are seen late: of the others no rule here makes a difference."""
    world = CaptureWorld(seed, Rules())
    if world.runs and world.server.slow:
        world.run()


AT_WATERMARK, ONCE, TABLE = (
    "a read is the row at its watermark",
    "each read once",
    "the events make the table",
)


@pytest.mark.parametrize(
    ("rule", "instead", "breaks"),
    [
        pytest.param(
            "tests.simulation.simulated_backfill.ModelReader._snapshot",
            by_lsn,
            AT_WATERMARK,
            id="sees by LSN",
        ),
        pytest.param(
            "cdc.backfill.changes.TableChanges.done_to",
            as_they_were_read,
            AT_WATERMARK,
            id="publishes stale rows",
        ),
        pytest.param(
            "tests.simulation.simulated_backfill.ModelReader.settle",
            waits_for_nothing,
            AT_WATERMARK,
            id="does not wait for what runs",
        ),
        pytest.param("cdc.tenure.Tenure._after_torn", begins_anew, ONCE, id="forgets its place"),
        pytest.param("cdc.tenure.after_labels", ignores_labels, ONCE, id="ignores a torn batch's reads"),
        pytest.param(
            "cdc.backfill.table_run.TableRun._after", thinks_it_is_through, TABLE, id="ends too early"
        ),
        pytest.param("cdc.backfill.table_run.TableRun._after", is_never_through, "it ends", id="never ends"),
        pytest.param(
            "cdc.backfill.backfills.Backfills._end",
            forgets_first,
            ONCE,
            id="forgets its place before its record",
        ),
    ],
)
def test_each_rule_is_needed(
    monkeypatch: pytest.MonkeyPatch, rule: str, instead: Callable[..., Any], breaks: str
) -> None:
    monkeypatch.setattr(rule, instead)
    assert f": {breaks}" in first_violation(play, range(EVERYDAY)).args[0].partition("\n")[0]
