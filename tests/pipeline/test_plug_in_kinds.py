"""Mappings and connections of a plug-in's kind: rendered by processes that never load its code."""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.demo.erp_plain import TOKEN, PlainErp
from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from bridge.shipped_files import shipped
from connectors.http_request import path_target
from connectors.protocol import Leaf, RequestKey, RequestShape
from connectors.xml_payload import xml_document
from pipeline.jail import told_kinds
from pipeline.jail.frames import MappingSource, Shape, frame, read_order
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.jail.work import CasesGiven
from pipeline.mapping import MappingInvalid, Rendered, RenderInput
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.model import Tenant
from pipeline.tenants.tenant_reader import WrittenTenant, read_tenant
from pipeline.yaml_tree import load
from tests.connectors.plug_in_packages import KIND, Packages, packages_in
from tests.pipeline.delivering import UPSERT, Bus, acme, eventually, order_at_erp

MAPPING = """
source: {table: public.orders, operations: [insert]}
connector: lines
request:
  line: "order {{ after.n }}"
"""
GUIDE = (Path(__file__).parents[2] / "docs" / "connectors.md").read_text()
HTTP_KIND = KIND.replace(
    '{"line": RequestKey(Leaf.TEXT, required=True)}',
    '{"line": RequestKey(Leaf.PATH, check=path_target), "own": RequestKey(Leaf.TEXT, check=own)}',
).replace(
    "\n\nSHAPE",
    "\nfrom connectors.http_request import path_target\n\ndef own(text):\n    raise RequestInvalid('own')\n\nSHAPE",
    1,
)


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Packages]:
    with packages_in(tmp_path) as found:
        yield found


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.aclose()


async def compiled(renderer: Renderer, text: str = MAPPING) -> JailedMapping:
    return await renderer.mapping("acme", "order", "mappings/order.yaml", MappingSource(text, {}))


async def problems_of(renderer: Renderer, text: str) -> str:
    with pytest.raises(MappingInvalid) as invalid:
        await compiled(renderer, text)
    return str(invalid.value)


async def request_of(mapping: JailedMapping) -> Any:
    event = {
        "op": "insert",
        "source": {"schema": "public", "table": "orders"},
        "before": None,
        "after": {"n": 7},
    }
    given = RenderInput(event, "acme", "orders", {}, "shop:0/1:1/acme/orders", "UTC")
    rendered = await mapping.render(given)
    assert isinstance(rendered, Rendered)
    return rendered.request


async def test_a_mapping_of_it_is_rendered_by_a_process_without_its_code(
    packages: Packages, renderer: Renderer
) -> None:
    """The package is on this process's path alone."""
    packages.add("acme-lines")
    await renderer.warm_up()
    assert "acme_lines" not in sys.modules
    mapping = await compiled(renderer)
    assert mapping.facts.connector == "lines"
    assert await request_of(mapping) == {"line": "order 7"}
    second = await compiled(renderer, MAPPING + "description: another\n")
    assert await request_of(second) == {"line": "order 7"}


async def test_its_cases_hold_or_not(packages: Packages, renderer: Renderer) -> None:
    packages.add("acme-lines")
    cases = """
cases:
  - {name: right, event: {after: {n: 1}}, expect: {request: {line: order 1}}}
  - {name: wrong, event: {after: {n: 1}}, expect: {request: {line: order 2}}}
"""
    given = CasesGiven("order.yaml", "order.cases.yaml", cases)
    right, wrong = await renderer.problems(MappingSource(MAPPING, {}), given, [])
    assert right == ""
    assert wrong == 'request.line: expected "order 2", got "order 1"'


async def test_its_shape_is_held_to(packages: Packages, renderer: Renderer) -> None:
    packages.add("acme-lines")
    problems = await problems_of(renderer, MAPPING.replace("line:", "lime:"))
    assert "order.yaml:5:3: unknown key 'lime' in request; did you mean 'line'?" in problems
    assert "order.yaml:5:3: the request needs 'line'" in problems
    problems = await problems_of(renderer, MAPPING.replace("connector: lines", "connector: limes"))
    assert problems == "mappings/order.yaml:3:12: unknown connector 'limes'; did you mean 'lines'?"


async def test_checks_of_ours_are_made_early_and_its_own_by_its_prepare(
    packages: Packages, renderer: Renderer
) -> None:
    packages.add("acme-lines", text=HTTP_KIND)
    text = MAPPING.replace('"order {{ after.n }}"', "no-slash\n  own: text")
    problems = await problems_of(renderer, text)
    assert "request.path must be a text that begins with /" in problems
    assert "own" not in problems.partition("begins with")[2]


async def test_a_shape_is_told_whole() -> None:
    checked = RequestKey(Leaf.XML, required=True, check=xml_document, literal="write it out")
    inside = RequestShape({"c": RequestKey(Leaf.PATH, check=path_target)}, one_of=("c",))
    keys = {"a": checked, "b": RequestKey(Leaf.REQUESTS, inside=inside)}
    shape = RequestShape(keys, payload=("a",), one_of=("a", "b"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(told_kinds, "shape", lambda _kind: shape)
        order = read_order(frame(told_kinds.shape_of("lines"))[4:])
    assert isinstance(order, Shape)
    assert told_kinds.told(order) == shape


async def test_a_broken_package_is_the_error_of_its_mappings_alone(
    packages: Packages, renderer: Renderer
) -> None:
    packages.add("acme-lines", text="import nothing_of_this_name")
    broken = await problems_of(renderer, MAPPING)
    assert broken.startswith("mappings/order.yaml:3:12: connector 'lines' of the package acme-lines 1.2")
    assert "No module named 'nothing_of_this_name'" in broken
    rest = (
        "connector: rest\nsource: {table: public.orders, operations: [insert]}\n"
        "request: {method: POST, path: /a, body: '{{ after.n }}'}\n"
    )
    assert (await request_of(await compiled(renderer, rest)))["body"] == 7


async def test_a_name_that_is_ours_is_said_once(packages: Packages) -> None:
    packages.add("acme-rest", kind="rest")
    with capture_logs() as logs:
        renderer = Renderer()
        await renderer.aclose()
    [said] = [line for line in logs if line["event"] == "a plug-in is not used"]
    assert "acme-rest 1.2" in said["because"]


def read(connection: str) -> WrittenTenant:
    text = f"key: '1'\nconnections:\n  erp: {{{connection}, base_url: http://erp.example}}\nroutes: {{}}\n"
    return read_tenant("acme", load(text, "tenants/acme/tenant.yaml"))


def test_a_connection_of_it_takes_what_it_checks(packages: Packages) -> None:
    checked = KIND.replace(
        "    pass\n\nclass",
        "    if settings.options != {'delimiter': ';'}:\n        raise SettingsInvalid('delimiter', 'is ;')\n\nclass",
    ).replace("import Delivered", "import SettingsInvalid, Delivered")
    packages.add("acme-lines", text=checked)
    assert read("connector: lines, delimiter: ';'").connections["erp"].connector == "lines"
    with pytest.raises(ConfigurationInvalid, match=r"tenant.yaml:3:.* connections.erp.delimiter: is ;"):
        read("connector: lines, delimiter: ','")
    with pytest.raises(ConfigurationInvalid, match="unknown value 'limes'; did you mean 'lines'"):
        read("connector: limes")


def test_a_broken_package_is_the_error_of_its_connections(packages: Packages) -> None:
    packages.add("acme-lines", text="1 / 0")
    assert read("connector: rest").connections["erp"].connector == "rest"
    with pytest.raises(
        ConfigurationInvalid, match=r"connections.erp.connector: .*acme-lines 1\.2.*ZeroDivision"
    ):
        read("connector: lines")


async def test_the_guides_mapping_and_connection_are_right(packages: Packages, renderer: Renderer) -> None:
    packages.add_example()
    mapping, tenant = (
        re.findall(rf"```yaml {what}\n(.*?)```", GUIDE, re.DOTALL)[0] for what in ("mapping", "tenant")
    )
    assert (await compiled(renderer, mapping)).facts.connector == "webdav"
    written = read_tenant("acme", load(tenant, "tenants/acme/tenant.yaml"))
    assert written.connections["files"].connector == "webdav"


FILES = (
    KIND
    + """
def connection_files(options, read):
    return {path: read(path) for path in options["layouts"]}
"""
)


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (FILES, "layouts/a.csv", ""),
        (FILES, "../../secret.csv", "a file of the tenant's folder, not '../../secret.csv'"),
        (FILES, "/etc/hostname", "a file of the tenant's folder, not '/etc/hostname'"),
        (FILES, "layouts/b.csv", "No such file"),
        (FILES.replace("read(path) for", "7 for"), "layouts/a.csv", "acme-lines 1.2 (acme_lines) gives files"),
        (FILES.replace("read(path) for", "1 / 0 for"), "layouts/a.csv", "cannot say which files it needs: ZeroDiv"),
    ],
)  # fmt: skip
async def test_its_files_are_the_tenants_and_of_nowhere_else(
    packages: Packages, renderer: Renderer, tmp_path: Path, text: str, path: str, why: str
) -> None:
    packages.add("acme-lines", text=text)
    folder = tmp_path / "tenants" / "acme"
    write(tmp_path / "secret.csv", "secret")
    write(folder / "layouts" / "a.csv", "order;code")
    connection = f"{{connector: lines, base_url: http://a.example, layouts: [{path}]}}"
    write(folder / "tenant.yaml", f"key: '1'\nconnections:\n  erp: {connection}\nroutes: {{}}\n")
    found = await load_tenants(folder.parent, shipped("templates"), renderer)
    if why:
        assert why in str(found.invalid["acme"])
    else:
        assert found.tenants[0].connections["erp"].files == {path: "order;code"}


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


TO_SHARE = """
source: {table: public.orders, operations: [insert, update]}
connector: webdav
repeat: idempotency_key
request:
  folder: /import/orders
  rows:
    - [id, "n"]
    - ["{{ after.id }}", "{{ after.n }}"]
"""


class Share(ErpServer):
    """Files by their names."""

    def __init__(self) -> None:
        super().__init__(f"Bearer {TOKEN}")
        self.files: dict[str, str] = {}

    def handle(self, call: Call) -> Reply:
        if call.path in self.files:
            return Reply(412)
        self.files[call.path] = call.body
        return Reply(201)


@pytest.fixture
async def share() -> AsyncIterator[Share]:
    async with Share() as share:
        yield share


def of_kind(kind: str, erp: ErpServer, mapping: str, name: str = "acme", key: str = "4711") -> Tenant:
    tenant = acme(erp, mapping)
    connections = {"erp": replace(tenant.connections["erp"], connector=kind)}
    return replace(tenant, name=name, key=key, connections=connections)


async def test_changes_are_delivered_by_it(packages: Packages, shop: Bus, share: Share) -> None:
    """Through the whole way, a lost answer included: each change is one file, written once."""
    packages.add_example()
    await shop.apply(of_kind("webdav", share, TO_SHARE))
    share.script([Step(cut="after"), Step(reply=Reply(503))])
    shop.route()
    for key in range(1, 6):
        await shop.change(key, n=key * 10)
    shop.work()
    await shop.settled_of(5)
    written = sorted(share.files.values())
    assert written == [f"id,n\r\n{key},{key * 10}\r\n" for key in range(1, 6)]
    assert await shop.dead_letters() == []


async def test_a_package_that_is_gone_holds_its_routes_and_no_others(
    packages: Packages, shop: Bus, share: Share, erp: PlainErp
) -> None:
    packages.add_example()
    await shop.apply(of_kind("webdav", share, TO_SHARE), of_kind("rest", erp, UPSERT, "other", "4712"))
    shop.route()
    packages.remove()
    with capture_logs() as logs:
        stop = shop.work()
        await shop.change(1, n=1)
        await shop.change(1, n=2, tenant="4712")
        await erp.until(lambda: order_at_erp(erp) == {"1": [2]})
        await eventually(_reasons(logs), lambda found: any("'webdav'" in reason for reason in found))
        await stop()
    assert share.calls == []
    packages.add_example()
    shop.work()
    await shop.settled_of(2)
    assert list(share.files.values()) == ["id,n\r\n1,1\r\n"]


async def test_what_it_must_not_do_ends_no_lane(packages: Packages, shop: Bus, erp: PlainErp) -> None:
    """An outcome that is none is uncertain: the mapping says what then, here a person."""
    packages.add(
        "acme-lines", text=KIND.replace('return Delivered(None, prepared.parts["line"])', "return 7")
    )
    mapping = MAPPING.replace("[insert]", "[insert, update]")
    await shop.apply(of_kind("lines", erp, mapping), of_kind("rest", erp, UPSERT, "other", "4712"))
    shop.route()
    shop.work()
    await shop.change(1, n=1)
    await shop.change(1, n=2, tenant="4712")
    await shop.settled_of(2)
    [letter] = await shop.dead_letters()
    assert letter["reason"] == "uncertain"
    assert "acme-lines 1.2" in letter["error"]["message"]
    assert "gave no outcome, but int" in letter["error"]["message"]
    assert order_at_erp(erp) == {"1": [2]}


def _reasons(logs: Sequence[Any]) -> Callable[[], Awaitable[list[str]]]:
    async def reasons() -> list[str]:
        return [str(line.get("reason")) for line in logs]

    return reasons
