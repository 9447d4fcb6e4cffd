"""A WSDL in the tenant's folder: with what it imports it travels in the version, and nothing else does."""

from pathlib import Path

import pytest

from bridge.demo.erp_soap import wsdl
from bridge.shipped_files import shipped
from pipeline.jail.renderer import Renderer
from pipeline.tenants.changes import changes
from pipeline.tenants.folder import FolderRead, load_tenant, load_tenants
from pipeline.tenants.model import decode_tenant, encode_tenant, same_version
from pipeline.tenants.pull import pull
from pipeline.tenants.text_difference import text_difference

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = """\
key: "4711"
connections:
  erp:
    connector: soap
    base_url: https://erp.acme.example/erp
    wsdl: wsdl/erp.wsdl
    auth: {type: wsse_username, username: BRIDGE, password: "${secret:erp_password}", digest: true}
routes:
  items:
    mapping: soap_erp/item
    connection: erp
    params: {company: 7}
"""
SCHEMA = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:o">{}</xs:schema>\n'


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    folder = tmp_path / "tenants/acme"
    (folder / "wsdl/types").mkdir(parents=True)
    (folder / "tenant.yaml").write_text(TENANT)
    write_wsdl(folder, '<xs:import namespace="urn:o" schemaLocation="types/a.xsd"/>')
    (folder / "wsdl/types/a.xsd").write_text(SCHEMA.format('<xs:include schemaLocation="../b.xsd"/>'))
    (folder / "wsdl/b.xsd").write_text(SCHEMA.format("<!-- Ñ -->"))
    (folder / "wsdl/unused.xsd").write_text("anything")
    return folder


def write_wsdl(folder: Path, imports: str) -> None:
    opening = '<xs:schema targetNamespace="urn:erp:maintenance:1" elementFormDefault="qualified">'
    assert opening in wsdl()
    (folder / "wsdl/erp.wsdl").write_text(wsdl().replace(opening, opening + imports))


async def read(acme: Path, renderer: Renderer) -> FolderRead:
    return await load_tenants(acme.parent, shipped("templates"), renderer)


async def test_the_files_that_a_wsdl_is_made_of_are_in_the_version(acme: Path, renderer: Renderer) -> None:
    [tenant] = (await read(acme, renderer)).tenants
    files = tenant.connections["erp"].files
    assert files == {
        name: (acme / name).read_text() for name in ("wsdl/erp.wsdl", "wsdl/types/a.xsd", "wsdl/b.xsd")
    }
    assert decode_tenant(encode_tenant(tenant), 0) == tenant


async def test_a_file_that_changed_is_another_version(acme: Path, renderer: Renderer) -> None:
    [before] = (await read(acme, renderer)).tenants
    (acme / "wsdl/unused.xsd").write_text("something else")
    [same] = (await read(acme, renderer)).tenants
    assert same_version(before, same)
    (acme / "wsdl/b.xsd").write_text(SCHEMA.format("<!-- N -->"))
    [after] = (await read(acme, renderer)).tenants
    assert changes(before, after) == ["connection erp changed: files"]
    assert "--- wsdl/b.xsd (before)" in text_difference(before, after)


async def test_pull_writes_them_back(acme: Path, renderer: Renderer, tmp_path: Path) -> None:
    [tenant] = (await read(acme, renderer)).tenants
    (acme / "wsdl/b.xsd").write_text(SCHEMA.format("<!-- somebody else's -->"))
    pulled = await pull(tenant, acme.parent, shipped("templates"), renderer)
    assert pulled.written == ("wsdl/b.xsd",)
    assert pulled.removed == ("wsdl/unused.xsd",)
    again = await load_tenant(acme, shipped("templates"), renderer)
    assert same_version(again, tenant)
    anew = tmp_path / "elsewhere"
    await pull(tenant, anew, shipped("templates"), renderer)
    assert same_version(await load_tenant(anew / "acme", shipped("templates"), renderer), tenant)


@pytest.mark.parametrize(
    ("imports", "says"),
    [
        ('<xs:import namespace="urn:x" schemaLocation="missing.xsd"/>', "wsdl/missing.xsd:1:1: cannot be read: No such file"),
        ('<xs:import namespace="urn:x" schemaLocation="/etc/passwd"/>', "etc/passwd is imported, and stands outside the folder wsdl"),
        ('<xs:import namespace="urn:x" schemaLocation="../tenant.yaml"/>', "tenant.yaml is imported, and stands outside the folder wsdl"),
        ('<xs:import namespace="urn:x" schemaLocation="../../globex/tenant.yaml"/>', "is imported, and stands outside the folder wsdl"),
        ('<xs:import namespace="urn:x" schemaLocation="..%2f..%2fx.xsd"/>', "cannot be read: No such file"),
        ('<xs:import namespace="urn:x" schemaLocation="file:///etc/passwd"/>', "only http and https are read"),
        ("<oops>", "wsdl/erp.wsdl is no XML"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_said_at_apply(
    acme: Path, renderer: Renderer, imports: str, says: str
) -> None:
    write_wsdl(acme, imports)
    [problem] = (await read(acme, renderer)).problems
    assert says in str(problem)


async def test_a_mistake_is_named_where_the_wsdl_is(acme: Path, renderer: Renderer) -> None:
    (acme / "wsdl/erp.wsdl").write_text("<!DOCTYPE x><x/>")
    [problem] = (await read(acme, renderer)).problems
    assert str(problem).endswith(
        "tenant.yaml:6:11: connections.erp.wsdl: wsdl/erp.wsdl has a DTD, which is not read"
    )


async def test_a_link_does_not_lead_out_of_the_folder(acme: Path, renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "secret.xsd").write_text(SCHEMA.format(""))
    (acme / "wsdl/b.xsd").unlink()
    (acme / "wsdl/b.xsd").symlink_to(tmp_path / "secret.xsd")
    [problem] = (await read(acme, renderer)).problems
    assert "is a link that leads out of" in str(problem)


async def test_imports_of_others_stay_with_them(acme: Path, renderer: Renderer) -> None:
    write_wsdl(acme, '<xs:import namespace="urn:x" schemaLocation="https://erp.acme.example/x.xsd"/>')
    [tenant] = (await read(acme, renderer)).tenants
    assert list(tenant.connections["erp"].files) == ["wsdl/erp.wsdl"]


@pytest.mark.parametrize(
    ("there", "instead", "says"),
    [
        ("wsdl: wsdl/erp.wsdl", "wsdl: /etc/passwd", "erp.wsdl: must be a URL"),
        ("wsdl: wsdl/erp.wsdl", "wsdl: file:///etc/passwd", "erp.wsdl: must be a URL"),
        ("    wsdl: wsdl/erp.wsdl\n", "", "erp.wsdl: is missing"),
        ('"${secret:erp_password}"', "geheim", "run `bridge secret set acme NAME`"),
        ("connector: soap", "connector: rest", "auth.type: 'wsse_username' is none of"),
    ],
)
async def test_a_connection_that_is_not_right(
    acme: Path, renderer: Renderer, there: str, instead: str, says: str
) -> None:
    (acme / "tenant.yaml").write_text(TENANT.replace(there, instead))
    problems = "\n".join(map(str, (await read(acme, renderer)).problems))
    assert says in problems
    assert "geheim" not in problems
