"""docs/configuration.md says what is so: its examples load, and its defaults are the defaults."""

import re
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from bridge.console.intake_source import IntakeSource
from bridge.settings import Settings, load_settings
from bridge.shipped_files import shipped
from connectors.auth.kinds import KINDS
from connectors.protocol import ConnectionSettings
from connectors.registry import open_connector
from pipeline.jail.renderer import Renderer
from pipeline.secrets import resolved
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.model import BreakerPolicy, RetryPolicy, references
from pipeline.yaml_tree import load
from tests.connectors.certificates import AUTHORITY, CLIENT, pem_key

GUIDE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
BLOCKS: list[str] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
WAYS = [text for text in BLOCKS if text.startswith(("auth:", "tls:"))]
SECRETS = {
    "netsuite_private_key": pem_key("RSA"),
    "erp_key": pem_key("RSA"),
    "erp_certificate": CLIENT.certificate,
    "erp_certificate_key": CLIENT.key,
    "erp_ca": AUTHORITY.certificate,
}
VARIABLES = {"BRIDGE_SOURCE_DSN": "postgresql://u@h/db", "BRIDGE_SECRETS_KEY": "ab" * 32}


def block(start: str) -> str:
    (found,) = (text for text in BLOCKS if text.startswith(start))
    return found


@pytest.fixture
def bridge_yaml(tmp_path: Path) -> Path:
    return tmp_path / "bridge.yaml"


def test_five_lines_are_five_lines_and_load(bridge_yaml: Path) -> None:
    five = next(text for text in BLOCKS if "embedded" in text)
    assert len(five.splitlines()) == 5
    bridge_yaml.write_text(five)
    assert load_settings(bridge_yaml, VARIABLES).embedded == bridge_yaml.parent / "data/nats"


def test_the_defaults_are_those_of_the_guide(bridge_yaml: Path) -> None:
    everything = next(text for text in BLOCKS if "lanes: 16" in text)
    bridge_yaml.write_text(everything)
    found = load_settings(bridge_yaml, VARIABLES)
    source = found.sources["fracttal"]
    assert (source.slot, source.publication) == ("bridge", "bridge")
    defaults = Settings(bridge_yaml, found.sources, secrets_keys=found.secrets_keys, tenants=found.tenants)
    assert found == replace(defaults, tenants=bridge_yaml.parent / "tenants")


def test_the_intake_of_the_guide_is_the_defaults(bridge_yaml: Path) -> None:
    bridge_yaml.write_text(block("intake:"))
    (bridge_yaml.parent / "schemas").mkdir()
    (bridge_yaml.parent / "schemas/partner.json").write_text("{}")
    secret = {"PARTNER_WEBHOOK_SECRET": f"whsec_{'k' * 40}"}
    partner = load_settings(bridge_yaml, secret, with_sources=False, with_intake=True).intake["partner"]
    assert partner.key == ("data", "id")
    assert replace(partner, secrets=(), schema=None, key=()) == IntakeSource("partner")


async def test_the_tenant_of_the_guide_is_one_and_its_policies_are_the_defaults(tmp_path: Path) -> None:
    acme = tmp_path / "tenants/acme"
    (acme / "lookups").mkdir(parents=True)
    for name in ("cost_centers", "units"):  # the mapping uses them
        (acme / f"lookups/{name}.csv").write_text("ours;theirs\n")
    (acme / "tenant.yaml").write_text(block('key: "4711"'))
    async with aclosing(Renderer()) as renderer:
        found = await load_tenants(acme.parent, shipped("templates"), renderer)
    assert found.problems == ()
    (tenant,) = found.tenants
    assert tenant.connections["sap"].breaker == BreakerPolicy()
    assert tenant.routes["purchase-requisitions"].retry == RetryPolicy()


@pytest.mark.parametrize("number", range(len(WAYS)))
async def test_each_way_to_prove_who_it_is_is_read_and_opens(number: int) -> None:
    kind, options = ("soap", {"wsdl": "wsdl/orders.wsdl"}) if "wsse_" in WAYS[number] else ("rest", {})
    head = {"connector": kind, "base_url": "https://erp.acme.example", **options}
    text = "erp:\n" + indent("".join(f"{key}: {value}\n" for key, value in head.items()) + WAYS[number], "  ")
    connection = read_connections("acme", load(text, "tenant.yaml"))["erp"]
    sections = (connection.auth, connection.tls)
    secrets = {name: SECRETS.get(name, "0123456789") for each in sections for _, name in references(each)}
    auth, tls = (resolved(each, secrets) for each in sections)
    settings = ConnectionSettings(connection.base_url, auth, tls=tls, options=options)
    await open_connector(kind, settings).aclose()


def test_every_kind_of_auth_is_in_the_guide() -> None:
    assert {match for way in WAYS for match in re.findall(r"type: (\w+)", way)} == set(KINDS)
