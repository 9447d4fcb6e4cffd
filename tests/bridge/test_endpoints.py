"""/healthz, /readyz and /metrics: what they answer, and where `bridge` serves them."""

import httpx
import pytest
from prometheus_client import Gauge

from bridge.endpoints import endpoints_app
from eventbus.condition import Condition, Matter, Role

CONDITION = Gauge("bridge_test_condition", "A metric of ours")
OTHERS = Gauge("somebody_elses", "A library's metric")


async def asked(condition: Condition, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(endpoints_app(lambda: condition))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        return await client.get(path)


async def test_a_process_that_answers_is_alive_whatever_its_work_does() -> None:
    waits = Condition(Role.STARTING, (Matter("starting", "it connects"),))
    found = await asked(waits, "/healthz")
    assert (found.status_code, found.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("role", [Role.OWNER, Role.STANDBY])
async def test_whoever_works_or_stands_by_is_ready(role: Role) -> None:
    found = await asked(Condition(role, findings=(Matter("wal_limit", "much"),)), "/readyz")
    assert found.status_code == 200
    assert found.json() == {
        "ready": True,
        "role": role.value,
        "reasons": [],
        "findings": [{"code": "wal_limit", "message": "much"}],
    }


async def test_what_keeps_it_from_its_work_is_told_with_503() -> None:
    found = await asked(
        Condition(Role.OWNER, (Matter("stalled", "since noon"),), parts={"router": "owner"}), "/readyz"
    )
    assert found.status_code == 503
    assert found.json() == {
        "ready": False,
        "role": "owner",
        "reasons": [{"code": "stalled", "message": "since noon"}],
        "findings": [],
        "parts": {"router": "owner"},
    }


async def test_metrics_are_ours_and_the_processs() -> None:
    CONDITION.set(3)
    found = await asked(Condition(Role.OWNER), "/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split("{")[0].split(" ")[0] for line in found.text.splitlines() if not line.startswith("#")}
    assert "bridge_test_condition" in names
    assert 'bridge_role{part="",role="owner"} 1.0' in found.text
    assert "bridge_ready 1.0" in found.text
    assert "process_resident_memory_bytes" in names
    assert all(name.startswith(("bridge_", "process_")) for name in names)
