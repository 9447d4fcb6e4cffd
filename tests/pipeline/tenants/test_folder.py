"""A tenants folder: what it becomes, and what is said about each mistake in it."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from bridge.shipped_files import shipped
from pipeline.jail.renderer import Renderer
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import FolderRead, load_tenants
from pipeline.tenants.model import (
    BreakerPolicy,
    RetryPolicy,
    RouteSource,
    decode_tenant,
    encode_tenant,
    same_version,
)
from pipeline.yaml_nodes import YamlError

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = """\
key: "4711"
timezone: America/Santiago
connections:
  sap:
    connector: rest
    base_url: https://sap.acme.example
    auth: {type: basic, username: bridge, password: "${secret:sap_password}"}
routes:
  orders:
    mapping: order
    connection: sap
    params: {plant: CL01}
"""
MAPPING = """\
source: {table: public.work_orders, operations: [update, insert]}
params: {plant: {required: true}, factor: {default: 1.50}}
connector: rest
request:
  method: POST
  path: /orders
  body: {plant: "{{ params.plant }}", unit: "{{ after.unit | lookup('units') }}"}
"""
UNITS = "\ufeffours;theirs\nkg;KGM\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One tenant, acme, with a mapping and a crosswalk of its own."""
    acme = tmp_path / "tenants/acme"
    (acme / "mappings").mkdir(parents=True)
    (acme / "lookups").mkdir()
    (acme / "tenant.yaml").write_text(TENANT)
    (acme / "mappings/order.yaml").write_text(MAPPING)
    (acme / "lookups/units.csv").write_text(UNITS)
    return acme.parent


async def read(folder: Path, renderer: Renderer) -> FolderRead:
    return await load_tenants(folder, shipped("templates"), renderer)


async def complaint(folder: Path, renderer: Renderer) -> str:
    found = await read(folder, renderer)
    assert not found.tenants
    return "\n".join(str(problem) for problem in found.problems).replace(f"{folder}/", "")


async def test_a_tenant_is_read_with_all_that_its_routes_need(folder: Path, renderer: Renderer) -> None:
    (acme,) = (await read(folder, renderer)).tenants
    assert (acme.name, acme.key, acme.timezone, acme.revision) == ("acme", "4711", "America/Santiago", 0)
    sap = acme.connections["sap"]
    assert (sap.connector, sap.base_url) == ("rest", "https://sap.acme.example")
    assert sap.auth["password"] == "${secret:sap_password}"
    assert (sap.timeout_s, sap.concurrency, sap.rate_limit, sap.breaker) == (30.0, 4, None, BreakerPolicy())
    orders = acme.routes["orders"]
    assert orders.source == RouteSource("public.work_orders", ("insert", "update"), tenant_any=False)
    assert (orders.mapping, orders.connection, orders.params) == ("order", "sap", {"plant": "CL01"})
    assert (orders.retry, orders.deadline_s) == (RetryPolicy(), None)
    assert acme.mappings["order"].text == MAPPING
    assert acme.mappings["order"].file == "acme/mappings/order.yaml"
    assert acme.lookups == {"units": UNITS.removeprefix("\ufeff")}


async def test_policies_are_read_in_seconds(folder: Path, renderer: Renderer) -> None:
    text = TENANT.replace(
        "    connector: rest",
        "    connector: rest\n    timeout: 500ms\n    concurrency: 9\n    rate_limit: 600/m\n"
        "    breaker: {failures: 3, window: 2m, open: 1h, ratio: 0.25, requests: 8}",
    ).replace(
        "    connection: sap",
        "    connection: sap\n    retry: {max_attempts: 3, initial: 1s, factor: 1.5, max: 10m, jitter: 0}\n"
        "    deadline: 12h\n    on_dead_letter: continue",
    )
    (folder / "acme/tenant.yaml").write_text(text)
    (acme,) = (await read(folder, renderer)).tenants
    sap, orders = acme.connections["sap"], acme.routes["orders"]
    assert (sap.timeout_s, sap.concurrency, sap.rate_limit) == (0.5, 9, 10.0)
    assert sap.breaker == BreakerPolicy(3, 120.0, 3600.0, 0.25, 8)
    assert orders.retry == RetryPolicy(3, 1.0, 1.5, 600.0, 0.0)
    assert orders.deadline_s == 43_200.0


async def test_a_version_is_the_same_after_the_bucket_and_numbers_keep_their_digits(
    folder: Path, renderer: Renderer
) -> None:
    (folder / "acme/tenant.yaml").write_text(TENANT.replace("plant: CL01", "plant: CL01, factor: 2.50"))
    (acme,) = (await read(folder, renderer)).tenants
    again = decode_tenant(encode_tenant(acme), 7)
    assert again.revision == 7
    assert same_version(again, acme)
    assert again.routes["orders"].params["factor"] == Decimal("2.50")
    assert str(again.routes["orders"].params["factor"]) == "2.50"


async def test_a_shipped_mapping_is_stored_as_it_is_now(
    folder: Path, tmp_path: Path, renderer: Renderer
) -> None:
    templates = tmp_path / "templates"
    (templates / "erp").mkdir(parents=True)
    (templates / "erp/order.yaml").write_text(MAPPING)
    (folder / "acme/tenant.yaml").write_text(TENANT.replace("mapping: order", "mapping: erp/order"))
    (acme,) = (await load_tenants(folder, templates, renderer)).tenants
    assert acme.mappings["erp/order"].file == "templates/erp/order.yaml"
    assert acme.mappings["erp/order"].text == MAPPING


async def test_a_tenants_own_mapping_comes_before_the_shipped_one(
    folder: Path, tmp_path: Path, renderer: Renderer
) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "order.yaml").write_text("not looked at: [")
    (acme,) = (await load_tenants(folder, templates, renderer)).tenants
    assert acme.mappings["order"].text == MAPPING


async def test_one_tenants_mistake_leaves_the_others_whole(folder: Path, renderer: Renderer) -> None:
    (folder / "globex").mkdir()
    (folder / "globex/tenant.yaml").write_text("kye: 1")
    found = await read(folder, renderer)
    assert [tenant.name for tenant in found.tenants] == ["acme"]
    assert list(found.invalid) == ["globex"]


async def test_one_key_of_two_tenants_names_both_files(folder: Path, renderer: Renderer) -> None:
    (folder / "globex").mkdir()
    (folder / "globex/tenant.yaml").write_text('timezone: UTC\nkey: "4711"\n')
    with pytest.raises(ConfigurationInvalid) as refused:
        await read(folder, renderer)
    said = str(refused.value)
    assert f"{folder}/globex/tenant.yaml:2:6" in said
    assert f"{folder}/acme/tenant.yaml:1:6" in said


async def test_no_folder_says_so(tmp_path: Path, renderer: Renderer) -> None:
    with pytest.raises(YamlError, match="there is no such folder; make it"):
        await read(tmp_path / "tenants", renderer)


async def test_every_mistake_is_told_at_once(folder: Path, renderer: Renderer) -> None:
    text = (
        TENANT.replace("Santiago", "Santjago")
        .replace("https:", "htps:")
        .replace("mapping: order", "mapping: ordr")
    )
    (folder / "acme/tenant.yaml").write_text(text)
    assert (
        len((await complaint(folder, renderer)).splitlines()) == 2
    )  # mappings are looked at when tenant.yaml by itself is right


MISTAKES = {
    "empty": (TENANT, "", 'acme/tenant.yaml:1:1: is empty; write at least `key: "…"`'),
    "key": ('"4711"', "4711", 'acme/tenant.yaml:1:6: key: expected text, not the number 4711; write "4711"'),
    "no key": ('key: "4711"\n', "", "key 'key' is missing"),
    "empty key": ('"4711"', '""', "key: is empty"),
    "unknown key": ("timezone:", "timezome:", "2:1: unknown key 'timezome'; did you mean 'timezone'?"),
    "time zone": (
        "Santiago",
        "Santjago",
        "'America/Santjago' is no IANA time zone, such as America/Santiago; did you mean",
    ),
    "duplicate key": ("timezone: America/Santiago", 'key: "1"', "2:1: key 'key' is already in line 1"),
    "connector": (
        "connector: rest",
        "connector: rset",
        "5:16: connections.sap.connector: unknown value 'rset'; did you mean 'rest'?",
    ),
    "url": ("https:", "ftp:", "6:15: connections.sap.base_url: not a URL; write https://host/path"),
    "password in the url": (
        "https://",
        "https://u:geheim@",
        "connections.sap.base_url: holds a user or password; move it to auth",
    ),
    "variable": ("https://sap.acme.example", "${SAP_URL}", "tenants resolve ${secret:NAME} only"),
    "literal password": (
        "${secret:sap_password}",
        "geheim",
        (
            "7:43: connections.sap.auth.password: a password is not written here; run `bridge secret set acme NAME` and "
            'write password: "${secret:NAME}"'
        ),
    ),
    "numeric password": ('"${secret:sap_password}"', "4711", "a password is not written here"),
    "half a reference": (
        "${secret:sap_password}",
        "x${secret:sap_password}",
        "a password is not written here",
    ),
    "secret's name": (
        "secret:sap_password",
        "secret:Sap Password",
        "'Sap Password' cannot be a secret's name",
    ),
    "auth type": ("type: basic", "type: basik", "connections.sap.auth.type"),
    "option": (
        "    base_url:",
        "    timeuot: 3s\n    base_url:",
        "connections.sap.timeuot: this connector has the options csrf alone; did you mean 'timeout'?",
    ),
    "option of the connector": (
        "    base_url:",
        "    csfr: true\n    base_url:",
        "connections.sap.csfr: this connector has the options csrf alone; did you mean 'csrf'?",
    ),
    "timeout": (
        "    base_url:",
        "    timeout: 3\n    base_url:",
        "connections.sap.timeout: expected a duration such as 30s",
    ),
    "rate": (
        "    base_url:",
        "    rate_limit: 10\n    base_url:",
        "connections.sap.rate_limit: expected a rate such as 10/s",
    ),
    "ratio": (
        "    base_url:",
        "    breaker: {ratio: 50}\n    base_url:",
        "connections.sap.breaker.ratio: expected a share above 0, at most 1",
    ),
    "breaker": (
        "    base_url:",
        "    breaker: {failure: 3}\n    base_url:",
        "unknown key 'failure' in connections.sap.breaker; did you mean 'failures'?",
    ),
    "route's name": ("  orders:", "  Orders:", "'Orders' cannot be a route's name"),
    "connection": (
        "connection: sap",
        "connection: spa",
        "11:17: routes.orders.connection: there is no connection 'spa'; did you mean 'sap'?",
    ),
    "mapping": (
        "mapping: order",
        "mapping: ordr",
        "10:14: routes.orders.mapping: there is no mapping 'ordr'",
    ),
    "no mapping": ("    mapping: order\n", "", "routes.orders: key 'mapping' is missing"),
    "unknown param": (
        "plant: CL01",
        "plnat: CL01, plant: x",
        "routes.orders.params: unknown param 'plnat' of mapping order; did you mean 'plant'?",
    ),
    "required param": (
        "    params: {plant: CL01}",
        "",
        "routes.orders.params: mapping order requires the param 'plant'",
    ),
    "placeholder in a param": (
        "plant: CL01",
        'plant: "${PLANT}"',
        "routes.orders.params.plant: tenants resolve ${secret:NAME} only, and only in auth; write the value out",
    ),
    "placeholder in a username": (
        "username: bridge",
        'username: "${USER}"',
        'connections.sap.auth.username: a username is not written here; run `bridge secret set acme NAME` and write username: "${secret:NAME}"',
    ),
    "jitter": (
        "    params:",
        "    retry: {jitter: 2}\n    params:",
        "routes.orders.retry.jitter: expected a number from 0 to 1",
    ),
    "factor": (
        "    params:",
        "    retry: {factor: 0.5}\n    params:",
        "routes.orders.retry.factor: expected a number from 1 on",
    ),
    "longest pause": (
        "    params:",
        "    retry: {initial: 2h}\n    params:",
        "routes.orders.retry: initial is longer than max (3600 s)",
    ),
    "on_dead_letter": (
        "    params:",
        "    on_dead_letter: blok\n    params:",
        "routes.orders.on_dead_letter: unknown value 'blok'; did you mean 'block'?",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_in_tenant_yaml_is_named_with_its_place_and_its_remedy(
    mistake: str, folder: Path, renderer: Renderer
) -> None:
    old, new, expected = MISTAKES[mistake]
    assert old in TENANT
    (folder / "acme/tenant.yaml").write_text(TENANT.replace(old, new))
    said = await complaint(folder, renderer)
    assert expected in said
    assert said.startswith("acme/tenant.yaml:")
    assert "geheim" not in said


async def test_an_option_that_the_connector_has_is_not_taken_for_a_misspelt_one(
    folder: Path, renderer: Renderer
) -> None:
    odd = TENANT.replace("    base_url:", "    csrf: 7\n    base_url:")
    (folder / "acme/tenant.yaml").write_text(odd)
    said = await complaint(folder, renderer)
    assert "connections.sap.csrf: " in said
    assert "known:" not in said


async def test_a_file_that_a_connection_needs_names_the_connection(folder: Path, renderer: Renderer) -> None:
    soap = "    connector: soap\n    wsdl: wsdl/erp.wsdl"
    (folder / "acme/tenant.yaml").write_text(TENANT.replace("    connector: rest", soap))
    says = "acme/wsdl/erp.wsdl:1:1: cannot be read: No such file or directory; connections.sap needs it"
    assert says in await complaint(folder, renderer)


async def test_a_username_may_be_a_secret_too(folder: Path, renderer: Renderer) -> None:
    (folder / "acme/tenant.yaml").write_text(TENANT.replace("username: bridge", 'username: "${secret:user}"'))
    (acme,) = (await read(folder, renderer)).tenants
    assert acme.connections["sap"].auth["username"] == "${secret:user}"


FILE_MISTAKES = {
    "no tenant.yaml": ("tenant.yaml", None, "acme:1:1: has no tenant.yaml"),
    "a mapping that would not be read": (
        "mappings/spare.yml",
        b"",
        "acme/mappings/spare.yml:1:1: is not read",
    ),
    "not utf-8": ("tenant.yaml", b"key: '\xff'", "is not UTF-8"),
    "mapping": (
        "mappings/order.yaml",
        MAPPING.replace("after.unit", "aftr.unit").encode(),
        "acme/mappings/order.yaml:7:",
    ),
    "mapping nobody uses": ("mappings/spare.yaml", b"connector: rest", "acme/mappings/spare.yaml:1:"),
    "lookup": (
        "lookups/units.csv",
        b"ours;theirs\nkg;KGM;x\n",
        "acme/lookups/units.csv:2:1: has 3 values where the header has 2",
    ),
    "no lookup": ("lookups/units.csv", None, "acme/mappings/order.yaml:7:"),
}


@pytest.mark.parametrize("mistake", FILE_MISTAKES)
async def test_a_mistake_in_a_tenants_other_files_is_named_with_its_place(
    mistake: str, folder: Path, renderer: Renderer
) -> None:
    name, content, expected = FILE_MISTAKES[mistake]
    file = folder / "acme" / name
    file.unlink() if content is None else file.write_bytes(content)
    assert expected in await complaint(folder, renderer)


@pytest.mark.parametrize("name", ["tenant.yaml", "mappings/order.yaml", "lookups/units.csv"])
async def test_a_link_is_no_way_out_of_the_tenants_folder(
    name: str, folder: Path, tmp_path: Path, renderer: Renderer
) -> None:
    (tmp_path / "key").write_text("geheim")
    (folder / "acme" / name).unlink()
    (folder / "acme" / name).symlink_to(tmp_path / "key")
    assert "is a link that leads out of" in await complaint(folder, renderer)
    assert "geheim" not in await complaint(folder, renderer)


async def test_links_within_the_tenants_folder_are_followed(folder: Path, renderer: Renderer) -> None:
    (folder / "acme/mappings").rename(folder / "acme/..data")
    (folder / "acme/mappings").symlink_to("..data")
    assert (await read(folder, renderer)).tenants[0].name == "acme"


@pytest.mark.parametrize("name", ["tenant.yaml", "mappings/order.yaml"])
async def test_what_is_no_file_is_not_waited_for(name: str, folder: Path, renderer: Renderer) -> None:
    (folder / "acme" / name).unlink()
    os.mkfifo(folder / "acme" / name)
    assert "is no file" in await complaint(folder, renderer)


async def test_a_tenants_name_is_its_folder_and_other_files_are_left_alone(
    folder: Path, renderer: Renderer
) -> None:
    (folder / "README.md").write_text("x")
    (folder / ".git").mkdir()
    (folder / "ACME").mkdir()
    found = await read(folder, renderer)
    assert [tenant.name for tenant in found.tenants] == ["acme"]
    assert "'ACME' cannot be a tenant's name (its folder)" in str(found.problems[0])
