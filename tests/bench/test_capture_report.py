"""What `make bench` prints is what was measured."""

import pytest

from bench.capture import Result, measure, report
from bench.contenders import Measured, MqBridge, PgRecvlogical


def result(name: str, sync: str | None, *seconds: float) -> Result:
    return Result(name, sync, [Measured(s, s / 2) for s in seconds])


def test_ratios_compare_at_the_same_sync_interval_and_medians_count() -> None:
    results = [
        result(PgRecvlogical.name, None, 1.0),
        result(MqBridge.name, "2m", 2.0),
        result(MqBridge.name, "always", 20.0),
        result("ours", "2m", 9.0, 4.0, 1.0),
        result("ours", "always", 5.0),
        Result("absent", None, problem="skipped: not here"),
    ]
    rows = {(r["contender"], r["sync_interval"]): r for r in report(results, 1000)["results"]}
    assert rows["ours", "2m"]["events_per_s"] == 250
    assert rows["ours", "2m"]["cpu_us_per_event"] == pytest.approx(2000)
    assert rows["ours", "2m"]["to_pg_recvlogical"] == pytest.approx(0.25)
    assert rows["ours", "2m"]["to_mq_bridge"] == pytest.approx(0.5)
    assert rows["ours", "always"]["to_mq_bridge"] == pytest.approx(4)
    assert rows["absent", None]["to_mq_bridge"] is None
    assert rows["absent", None]["problem"] == "skipped: not here"


async def test_a_run_measures_the_server_itself() -> None:
    (measured,) = await measure(changes=200, rounds=1, only=PgRecvlogical.name)
    assert measured.problem is None
    assert 0 < measured.runs[0].cpu_s < measured.runs[0].seconds * 2
