"""Tenants' text in processes of its own: what it may cost, whom it harms, and what becomes of it when they are killed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Step
from bridge.shipped_files import shipped
from connectors.protocol import Answer, Delivered, Rejected, RetryLater
from pipeline.jail import pool as render_pool
from pipeline.jail.frames import Defect, Failed, MappingSource
from pipeline.jail.pool import RendererBroken, RenderPool
from pipeline.jail.process import RenderProcess
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.jail.work import CasesGiven
from pipeline.lanes import turns as lane_turns
from pipeline.mapping import MappingInvalid, Rendered, RenderError, RenderInput, Skipped
from pipeline.mapping_text import MappingText
from pipeline.tenants.mapping_files import MappingFiles
from tests.pipeline.delivering import UPSERT, Bus, acme, eventually, order_at_erp
from tests.pipeline.mapping.test_documentation import CASES, MAPPINGS
from tests.pipeline.mapping.test_hostile import BOMBS, ESCAPES

HEAD = "source: {table: public.orders, operations: [insert]}\nconnector: rest\n"
REQUEST = "request:\n  method: POST\n  path: /orders\n"
PLAIN = HEAD + REQUEST + '  body: {n: "{{ after.n }}", at: "{{ after.at | default(null) | local }}"}\n'
CPU_BOMB = (
    HEAD
    + REQUEST
    + "  body: {n: \"{% for a in range(10000) %}{{ after.s | regex_replace('[a-z]', 'b') | length }}{% endfor %}\"}\n"
)
MEMORY_BOMB = (
    HEAD + REQUEST + "vars:\n" + "".join(f'  v{n}: "{{{{ after.s | upper }}}}"\n' for n in range(2_000))
)


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.aclose()


def given(tenant: str = "acme", op: str = "insert", **after: Any) -> RenderInput:
    source = {"schema": "public", "table": "orders"}
    event = {"op": op, "tenant": "1", "source": source, "key": {"id": 1}, "before": None, "after": after}
    return RenderInput(event, tenant, "orders", {}, "shop:0/1:1/acme/orders", "America/Santiago")


async def mapping(renderer: Renderer, text: str, tenant: str = "acme", **lookups: str) -> JailedMapping:
    return await renderer.mapping(tenant, "order", "mappings/order.yaml", MappingSource(text, lookups))


def children(renderer: Renderer) -> list[RenderProcess]:
    return [place.child for place in renderer._pool._places if place.child is not None]


async def test_it_renders_as_this_process_would(renderer: Renderer) -> None:
    ref = await mapping(renderer, PLAIN)
    assert (ref.facts.name, ref.facts.file, ref.facts.connector) == ("order", "mappings/order.yaml", "rest")
    after: dict[str, Any] = {"at": "2026-11-24T03:28:19.832462Z", "n": Decimal("1273.10")}
    result = await ref.render(given(**after))
    assert isinstance(result, Rendered)
    assert result.request["body"] == {"n": Decimal("1273.10"), "at": "2026-11-24T00:28:19.832462-03:00"}
    assert str(result.request["body"]["n"]) == "1273.10"
    assert isinstance(await ref.render(given(op="delete", **after)), Skipped)
    with pytest.raises(RenderError) as caught:
        await ref.render(given(at=None))
    assert str(caught.value).startswith("mappings/order.yaml:6:13: after has no column 'n'")
    with pytest.raises(MappingInvalid) as invalid:
        await mapping(renderer, PLAIN + "nonsense: 1\n")
    assert "mappings/order.yaml:7:1: unknown key 'nonsense'" in str(invalid.value)


async def test_an_answer_is_judged_there(renderer: Renderer) -> None:
    ref = await mapping(renderer, PLAIN + "response: {retry: status == 400, reject: body.no}\n")
    answer = Answer(400, {}, {"no": False, "cost": Decimal("1.10")})
    judged = await ref.classify(Rejected("no", answer, "E1"), given(n=1))
    assert judged == RetryLater("no", answer, None, "E1")
    refused = Delivered(Answer(200, {}, {"no": True}))
    judged = await ref.classify(refused, given(n=1))
    assert isinstance(judged, Rejected)
    plain = await mapping(renderer, PLAIN)
    assert plain.facts.leaves(refused, None)
    assert not ref.facts.leaves(refused, None)


async def test_a_bomb_costs_its_tenant_one_error_that_names_the_expression(renderer: Renderer) -> None:
    ref = await mapping(renderer, CPU_BOMB)
    with pytest.raises(RenderError) as caught:
        await ref.render(given(s="a" * 99_000 + "!"))
    assert caught.value.class_ == "limit"
    assert str(caught.value).startswith("mappings/order.yaml:6:13: more computing than one event may cost")
    assert "regex_replace" in caught.value.expression
    assert max(child.cpu() for child in children(renderer)) < 1


async def test_a_text_that_took_too_much_is_not_refused_for_good(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.jail.renderer.COSTLY_S", 0.5)
    with monkeypatch.context() as patched:
        busy = AsyncMock(
            return_value=Failed(1, "limit", "more computing than one event may cost", ("", 1, 1))
        )
        patched.setattr(Renderer, "do", busy)
        for _ in range(3):
            with pytest.raises(MappingInvalid, match="more computing"):
                await mapping(renderer, PLAIN)
        assert busy.await_count == 1

    async def compiles() -> bool:
        with contextlib.suppress(MappingInvalid):
            return (await mapping(renderer, PLAIN)).facts.connector == "rest"
        return False

    await eventually(compiles, bool)


@pytest.mark.slow
async def test_thousands_of_mappings_hold_up_none(renderer: Renderer) -> None:
    """Where the collector looked at all of them within one's limit, that one was refused."""
    text = PLAIN.replace("{{ after.n }}", "{{ after.n | lookup('t') }}")
    refs = [await mapping(renderer, text, t=f"k,v\n{n},x\n") for n in range(2_500)]
    assert isinstance(await refs[0].render(given(n=0)), Rendered)


async def test_memory_is_limited(renderer: Renderer) -> None:
    ref = await mapping(renderer, MEMORY_BOMB)
    with pytest.raises(RenderError) as caught:
        await ref.render(given(s="a" * 990_000))
    assert caught.value.class_ == "limit"
    plain = await mapping(renderer, PLAIN)
    assert isinstance(await plain.render(given(n=1)), Rendered)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
async def test_a_child_that_is_killed_takes_no_delivery_with_it(
    renderer: Renderer, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.jail.place.STILL_S", 0.2)
    ref = await mapping(renderer, PLAIN)
    [child] = children(renderer)
    all_of_them = [asyncio.create_task(ref.render(given(f"t{n % 7}", n=n))) for n in range(400)]
    await asyncio.wait(all_of_them, return_when=asyncio.FIRST_COMPLETED)
    os.kill(child.pid, sent)
    async with asyncio.timeout(30):
        results = await asyncio.gather(*all_of_them)
    assert [result.request["body"]["n"] for result in results if isinstance(result, Rendered)] == list(
        range(400)
    )
    assert child not in children(renderer)


async def test_whoever_crashes_children_again_and_again_is_refused(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await mapping(renderer, CPU_BOMB)
    crashing = asyncio.create_task(ref.render(given("evil", s="a" * 99_000)))
    killed = 0
    while not crashing.done():
        for child in children(renderer):
            if child.at and child.died_of is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGABRT)
                    killed += 1
        await asyncio.sleep(0.005)
    with pytest.raises(RenderError) as caught:
        await crashing
    assert caught.value.class_ == "limit"
    assert killed >= 2


async def test_a_child_that_cannot_start_is_no_delivery_s_fault(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_pool, "PATIENCE_S", 0.3)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(RendererBroken, match="cannot be started"):
            await mapping(renderer, PLAIN)
    assert (await mapping(renderer, PLAIN)).facts.connector == "rest"


async def test_two_hundred_bombs_of_one_tenant_hold_up_nobody_else(renderer: Renderer) -> None:
    bomb, plain = await mapping(renderer, CPU_BOMB, "evil"), await mapping(renderer, PLAIN, "good")
    evil = given("evil", s="a" * 99_000 + "!")
    bombs = [asyncio.create_task(bomb.render(evil)) for _ in range(200)]
    took = []
    for n in range(200):
        begun = time.monotonic()
        assert isinstance(await plain.render(given("good", n=n)), Rendered)
        took.append(time.monotonic() - begun)
    done = sum(task.done() for task in bombs)
    assert done < 100
    assert sorted(took)[195] < 0.1, sorted(took)[-10:]
    for task in bombs:
        task.cancel()


async def test_it_can_open_nothing_and_knows_nothing(renderer: Renderer) -> None:
    await mapping(renderer, PLAIN)
    [child] = children(renderer)
    proc = Path(f"/proc/{child.pid}")
    assert (proc / "environ").read_bytes() == b""
    assert sorted(int(file.name) for file in (proc / "fd").iterdir())[:3] == [0, 1, 2]
    opened = [file.readlink() for file in (proc / "fd").iterdir()]
    assert [str(path).partition(":")[0] for path in opened if str(path) != "/dev/null"] == ["socket"]
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
    for name in ("Max open files", "Max processes", "Max file size", "Max core file size"):
        assert limits[name] == ["0", "0"], name
    assert "NoNewPrivs:\t1" in (proc / "status").read_text()


async def test_it_ends_with_its_worker(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import asyncio, sys\n"
        "from pipeline.jail.frames import Failed, MappingSource\n"
        "from pipeline.jail.pool import RenderPool\n"
        "from pipeline.jail.renderer import Renderer\n"
        "async def main():\n"
        "    renderer = Renderer()\n"
        "    await renderer.mapping('t', 'm', 'm.yaml', MappingSource(sys.argv[1], {}))\n"
        "    print(renderer._pool._ordinary[0].child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    worker = subprocess.Popen(  # noqa: ASYNC220 — it is to be killed, not awaited
        [sys.executable, script, PLAIN], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    child = os.pidfd_open(int(worker.stdout.readline()))
    worker.kill()
    worker.wait()
    worker.stdout.close()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(child, gone.set)
    try:
        async with asyncio.timeout(5):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(child)
        os.close(child)


async def test_hostile_text_ends_no_child(renderer: Renderer) -> None:
    texts = [(text, "") for text in ESCAPES] + BOMBS
    await mapping(renderer, PLAIN)
    before = children(renderer)
    for text, head in texts:
        written = HEAD + head + REQUEST + f"  body: {{a: {json.dumps(text)}}}\n"
        with pytest.raises((MappingInvalid, RenderError)):
            await (await mapping(renderer, written)).render(given(id=1, s="x"))
    assert children(renderer)[:1] == before


async def test_a_compiler_that_fails_is_the_mapping_s_mistake_alone(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> Defect:
        return Defect(1, "KeyError: 'x'")

    monkeypatch.setattr(renderer, "do", failing)
    with pytest.raises(MappingInvalid, match=r"order\.yaml:1:1: .*KeyError: 'x'.*defect of the bridge"):
        await mapping(renderer, "source: {table: public.t}")


async def test_a_text_is_compiled_once_for_all_tenants_that_have_it(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    do = RenderPool.do

    async def counting(self: RenderPool, tenant: str, work: Any) -> Any:
        asked.append(tenant)
        return await do(self, tenant, work)

    monkeypatch.setattr(RenderPool, "do", counting)
    refs = [await mapping(renderer, UPSERT, f"t{n}", unused=f"a;b\n{n};1\n") for n in range(50)]
    assert asked == ["t0"]
    assert len({ref._digest for ref in refs}) == 1
    text = PLAIN.replace("{{ after.n }}", "{{ after.n | lookup('codes') }}")
    refs = [
        await mapping(renderer, text, f"t{n}", codes="a;b\n1;2\n", other=f"a;b\n{n};1\n") for n in range(50)
    ]
    assert asked == ["t0", "t0"]
    other = await mapping(renderer, text, "t9", codes="a;b\n1;3\n")
    assert other.facts.version != refs[0].facts.version
    assert asked == ["t0", "t0", "t9"]


async def test_a_bomb_is_one_dead_letter_beside_what_is_delivered(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp)
    mappings = {
        **tenant.mappings,
        "bomb": MappingText("mappings/bomb.yaml", CPU_BOMB.replace("[insert]", "[update]")),
    }
    routes = {**tenant.routes, "bomb": replace(tenant.routes["orders"], name="bomb", mapping="bomb")}
    await shop.apply(replace(tenant, mappings=mappings, routes=routes))
    shop.route()
    shop.work()
    await shop.change(1, 1, after={"id": 1, "n": 1, "s": "a" * 99_000})
    await shop.settled_of(2)
    assert order_at_erp(erp) == {"1": [1]}
    [letter] = await shop.dead_letters()
    assert (letter["route"], letter["reason"], letter["error"]["class"]) == ("bomb", "mapping", "limit")
    assert letter["error"]["message"].startswith(
        "mappings/bomb.yaml:6:13: more computing than one event may cost"
    )


async def test_deliveries_wait_while_no_renderer_starts(
    shop: Bus, erp: PlainErp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_pool, "PATIENCE_S", 0.1)
    monkeypatch.setattr(lane_turns, "NOT_READY_S", 0.1)
    await shop.apply(acme(erp))
    shop.route()
    with capture_logs() as logs, monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        shop.work()
        await shop.change(1, 1)

        async def refused() -> bool:
            return any("cannot deliver yet" in line["event"] for line in logs)

        await eventually(refused, bool)
    await erp.until(lambda: len(erp.effects) == 1)
    await shop.settled()
    assert await shop.dead_letters() == []


async def test_all_that_the_guide_shows_works_there(renderer: Renderer, tmp_path: Path) -> None:
    zones = ("UTC", "America/Santiago")
    for text, cases in zip(MAPPINGS, CASES, strict=True):
        (tmp_path / "m.yaml").write_text(text)
        source = MappingSource.of(MappingFiles(None, shipped("templates")).read(tmp_path / "m.yaml"), {})
        problems = await renderer.problems(source, CasesGiven("m.yaml", "m.cases.yaml", cases), zones)
        assert problems
        assert not any(problems)


async def test_what_an_ordering_gives_stays_in_order_across_keys(shop: Bus, erp: PlainErp) -> None:
    tenant = acme(erp, UPSERT + "ordering: after.asset\n")
    await shop.apply(replace(tenant, routes={"orders": replace(tenant.routes["orders"], orders=True)}))
    shop.route()
    shop.work()
    await shop.change(9, 9)
    await shop.settled_of(1)  # a new owner's first request is a probe, and goes alone
    held = asyncio.Event()
    erp.script([Step(hold=held)])
    await shop.change(1, 1, after={"id": 1, "n": 1, "asset": 7})
    await erp.until(lambda: len(erp.calls) == 2)
    for key, asset in ((2, 7), (3, 8), (4, None)):
        await shop.change(key, key, after={"id": key, "n": key, "asset": asset})
    await shop.change(5, 5, before={"asset": 7}, after={"id": 5, "n": 5, "asset": 9})
    await shop.change(6, 6, after={"id": 6, "n": 6, "asset": 9})
    await erp.until(lambda: len(erp.effects) == 3)
    assert sorted(effect.key for effect in erp.effects) == ["3", "4", "9"]
    held.set()
    await erp.until(lambda: len(erp.effects) == 7)
    await shop.settled()
    order = [effect.key for effect in erp.effects]
    assert order.index("1") < order.index("2") < order.index("5") < order.index("6")


async def test_an_ordering_that_computes_too_long_counts_as_none(renderer: Renderer) -> None:
    loops = "range(10000) | map('string') | map('regex_replace', '[0-9]', after.s) | list | length"
    heavy = await mapping(renderer, PLAIN + f'ordering: "{loops}"\n')
    assert heavy.facts.orders
    with capture_logs() as logs:
        for _ in range(3):
            assert await heavy.ordering_keys(given(n=1, s="a" * 90)) == ()
    assert sum(line["event"] == "an ordering counts as none" for line in logs) == 1
    light = await mapping(renderer, PLAIN + "ordering: after.n\n")
    assert await light.ordering_keys(given(n=Decimal("1.50"))) == (Decimal("1.50"),)
