"""`bridge mapping preview` of a SOAP mapping: operation and arguments, and the envelope where the tenant has the WSDL."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main
from bridge.demo.erp_soap import wsdl

TENANT = """\
key: "4711"
connections:
  erp:
    connector: soap
    base_url: https://erp.acme.example/erp
    wsdl: {wsdl}
    auth: {{type: wsse_username, username: BRIDGE, password: "${{secret:erp_password}}"}}
routes:
  items: {{mapping: soap_erp/item, connection: erp, params: {{company: {company}}}}}
"""
EVENT = {
    "v": 1,
    "id": "fracttal:0/1:1",
    "op": "insert",
    "tenant": "4711",
    "source": {"name": "fracttal", "schema": "public", "table": "items"},
    "key": {"id": 5},
    "before": None,
    "after": {"id": 5, "code": "R-1", "description": "<ring>", "active": True},
}
ARGUMENTS = {
    "item": {
        "externalId": "item:5",
        "note": "fracttal:0/1:1",
        "code": "R-1",
        "description": "<ring>",
        "active": True,
    }
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants/acme/wsdl").mkdir(parents=True)
    (tmp_path / "tenants/acme/wsdl/erp.wsdl").write_text(wsdl())
    (tmp_path / "bridge.yaml").write_text("nats: {embedded: nats}\n")
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    return tmp_path


def preview(folder: Path, *more: str, wsdl: str = "wsdl/erp.wsdl", company: str = "7") -> Result:
    (folder / "tenants/acme/tenant.yaml").write_text(TENANT.format(wsdl=wsdl, company=company))
    words = [
        "--route",
        "acme/items",
        "--event",
        folder / "event.json",
        "--config",
        folder / "bridge.yaml",
        *more,
    ]
    return CliRunner().invoke(main, ["mapping", "preview", *map(str, words)])


def test_with_the_wsdl_at_hand_the_envelope_is_shown(folder: Path) -> None:
    shown = json.loads(preview(folder, "--json").stdout)
    envelope = shown.pop("envelope")
    assert shown == {
        "connector": "soap",
        "operation": "UpsertItem",
        "arguments": ARGUMENTS,
        "headers": {"Company": 7},
        "idempotency_key": "fracttal:0/1:1/acme/items",
    }
    assert "<ns1:description>&lt;ring&gt;</ns1:description>" in envelope
    assert "Security" not in envelope
    assert "secret" not in envelope


def test_people_read_it_as_xml(folder: Path) -> None:
    text = preview(folder).stdout
    assert "operation: UpsertItem" in text
    assert "      <ns1:UpsertItem xmlns:ns1=" in text


def test_with_a_url_nothing_is_fetched(folder: Path) -> None:
    shown = json.loads(preview(folder, "--json", wsdl="https://erp.acme.example/erp?wsdl").stdout)
    assert shown["arguments"] == ARGUMENTS
    assert "envelope" not in shown


def test_what_does_not_fit_the_wsdl_is_an_error(folder: Path) -> None:
    result = preview(folder, "--json", company="seven")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["class"] == "request"
    assert error["message"] == "request.headers.Company must be a whole number, this is 'seven'"


def test_a_wsdl_that_is_not_understood_is_an_error(folder: Path) -> None:
    (folder / "tenants/acme/wsdl/erp.wsdl").write_text("<definitions/>")
    result = preview(folder, "--json")
    assert result.exit_code == 1
    assert "the WSDL cannot be used: it has no service" in json.loads(result.stdout)["error"]["message"]
