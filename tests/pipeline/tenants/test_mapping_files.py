"""Mappings that extend others, and the files they name, from a tenant's folder into a version."""

from pathlib import Path

import pytest

from pipeline.jail.renderer import Renderer
from pipeline.mapping import MappingText, compile_stored
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import FolderRead, load_tenants
from pipeline.tenants.mapping_files import MappingFiles
from pipeline.tenants.model import decode_tenant, encode_tenant, same_version
from pipeline.yaml_nodes import YamlError

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = """\
key: "4711"
connections: {erp: {connector: rest, base_url: "https://erp.example"}}
routes:
  orders: {mapping: MAPPING, connection: erp}
"""
BASE = """\
source: {table: public.work_orders}
connector: rest
request: {method: POST, path: /orders, body: {id: "{{ after.id }}", kind: base}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants/acme/mappings/erp").mkdir(parents=True)
    (tmp_path / "templates/erp").mkdir(parents=True)
    (tmp_path / "templates/erp/order.yaml").write_text(BASE)
    return tmp_path


def own(folder: Path, name: str, text: str) -> Path:
    path = folder / "tenants/acme/mappings" / name
    path.write_text(text)
    return path


async def read(folder: Path, mapping: str, renderer: Renderer) -> FolderRead:
    (folder / "tenants/acme/tenant.yaml").write_text(TENANT.replace("MAPPING", mapping))
    return await load_tenants(folder / "tenants", folder / "templates", renderer)


async def test_a_version_holds_the_texts_of_all_that_is_extended(folder: Path, renderer: Renderer) -> None:
    own(folder, "middle.yaml", "extends: erp/order\nrequest: {body: {kind: middle}}")
    own(folder, "order.yaml", "extends: middle\nrequest: {body: {kind: order}}")
    (acme,) = (await read(folder, "order", renderer)).tenants
    stored = acme.mappings["order"]
    assert [each.file for each in (stored, *stored.bases)] == [
        "acme/mappings/order.yaml",
        "acme/mappings/middle.yaml",
        "templates/erp/order.yaml",
    ]
    assert stored.bases[1].text == BASE
    assert sorted(acme.mappings) == ["middle", "order"]
    again = decode_tenant(encode_tenant(acme), 7)
    assert same_version(again, acme)
    assert again.mappings == acme.mappings
    mapping = compile_stored(again.mappings["order"], "order", {})
    assert mapping.version == compile_stored(stored, "order", {}).version


async def test_an_upgrade_changes_nothing_by_itself(folder: Path, renderer: Renderer) -> None:
    own(folder, "order.yaml", "extends: erp/order")
    (before,) = (await read(folder, "order", renderer)).tenants
    (folder / "templates/erp/order.yaml").write_text(BASE.replace("kind: base", "kind: upgraded"))
    (after,) = (await read(folder, "order", renderer)).tenants
    assert not same_version(before, after)
    old, new = (compile_stored(each.mappings["order"], "order", {}) for each in (before, after))
    assert old.version != new.version


async def test_a_tenants_own_may_extend_the_shipped_one_of_its_name(folder: Path, renderer: Renderer) -> None:
    own(folder, "erp/order.yaml", "extends: erp/order\nrequest: {body: {kind: own}}")
    (acme,) = (await read(folder, "erp/order", renderer)).tenants
    stored = acme.mappings["erp/order"]
    assert (stored.file, stored.bases[0].file) == ("acme/mappings/erp/order.yaml", "templates/erp/order.yaml")


async def test_a_shipped_one_means_shipped_ones(folder: Path, renderer: Renderer) -> None:
    (folder / "templates/erp/other.yaml").write_text("extends: erp/order")
    own(folder, "erp/order.yaml", BASE.replace("kind: base", "kind: own"))
    (acme,) = (await read(folder, "erp/other", renderer)).tenants
    assert acme.mappings["erp/other"].bases[0].text == BASE


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"order.yaml": "extends: erp/oder"}, "order.yaml:1:10: extends: there is no mapping 'erp/oder'; did you mean 'erp/order'?"),
        ({"order.yaml": "extends: order"}, "order.yaml:1:10: extends: it would extend itself"),
        ({"order.yaml": "extends: a", "a.yaml": "extends: order"}, "extends goes in a circle"),
        ({"order.yaml": "extends: b0"} | {f"b{n}.yaml": f"extends: b{n + 1}" for n in range(300)} | {"b300.yaml": BASE}, "extends: more than 16 mappings, one extending the next"),
        ({"order.yaml": "extends: erp/order\nsource: {tabel: x}"}, "order.yaml:2:10"),
        ({"order.yaml": BASE + "schema: nope.json"}, "order.yaml:4:9: schema: there is no file 'nope.json'"),
        ({"order.yaml": BASE + "schema: ../../tenant.yaml"}, "a file beside the mapping"),
        ({"order.yaml": BASE + "schema: /etc/passwd"}, "a file beside the mapping"),
        ({"order.yaml": BASE + "when: saved('ordrs', 1, 'x') is none"}, "asks what route 'ordrs' saved, and this tenant has none; did you mean 'orders'?"),
    ],
)  # fmt: skip
async def test_what_is_wrong_names_file_and_line(
    folder: Path, texts: dict[str, str], says: str, renderer: Renderer
) -> None:
    for name, text in texts.items():
        own(folder, name, text)
    found = await read(folder, "order", renderer)
    assert not found.tenants
    assert says in "\n".join(map(str, found.problems))


async def test_a_schema_travels_with_its_mapping(folder: Path, renderer: Renderer) -> None:
    own(folder, "order.yaml", BASE + "schema: order.schema.json")
    own(folder, "order.schema.json", '{"required": ["id"]}')
    (acme,) = (await read(folder, "order", renderer)).tenants
    assert acme.mappings["order"].files == {"order.schema.json": '{"required": ["id"]}'}
    compile_stored(acme.mappings["order"], "order", {})
    own(folder, "order.schema.json", "not a schema")
    found = await read(folder, "order", renderer)
    assert "order.yaml:4:9: schema: " in str(found.invalid["acme"].problems[0])


async def test_outside_of_a_tenant_there_are_the_shipped_ones(folder: Path) -> None:
    path = folder / "m.yaml"
    path.write_text("extends: erp/order")
    text = MappingFiles(None, folder / "templates").read(path)
    assert text == MappingText(
        str(path), "extends: erp/order", (MappingText(str(folder / "templates/erp/order.yaml"), BASE),)
    )
    path.write_text("extends: m")
    with pytest.raises(YamlError, match="no mapping 'm'"):
        MappingFiles(None, folder / "templates").read(path)


async def test_a_base_that_is_no_yaml_is_named(folder: Path, renderer: Renderer) -> None:
    own(folder, "order.yaml", "extends: base")
    own(folder, "base.yaml", "a: 1\na: 2")
    found = await read(folder, "order", renderer)
    assert isinstance(found.invalid["acme"], ConfigurationInvalid)
    assert "base.yaml:2:1" in str(found.invalid["acme"].problems[0])
