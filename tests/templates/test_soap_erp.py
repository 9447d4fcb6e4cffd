"""The mappings for a SOAP ERP, sent to one: what their cases expect is what it takes."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_soap import PASSWORD, PATH, USERNAME, SoapErp, wsdl
from bridge.shipped_files import shipped
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered
from pipeline.yaml_tree import load_file

ROOT = shipped("templates") / "soap_erp"


def requests() -> list[Any]:
    found = []
    for file in sorted(ROOT.glob("*.cases.yaml")):
        cases: Any = load_file(file).plain()
        found += [
            pytest.param(case["expect"]["request"], id=f"{file.name}: {case['name']}")
            for case in cases["cases"]
            if "request" in case.get("expect", {})
        ]
    return found


@pytest.mark.parametrize("request_", requests())
async def test_what_a_case_expects_is_what_the_erp_takes(
    request_: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.wsdl_loading.try_out", lambda _documents: None)
    async with SoapErp() as erp:
        settings = ConnectionSettings(
            erp.base_url + PATH,
            {"type": "wsse_username", "username": USERNAME, "password": PASSWORD, "digest": True},
            options={"wsdl": "wsdl/erp.wsdl"},
            files={"wsdl/erp.wsdl": wsdl()},
            egress=EgressPolicy((ip_network("127.0.0.0/8"),)),
        )
        connector = registry.open_connector("soap", settings)
        for _ in range(2):
            outcome = await connector.send(connector.prepare(request_, "key"))
            assert isinstance(outcome, Delivered), outcome
        await connector.aclose()
        assert len(erp.effects) == 1
        assert erp.requests[0].company() == "7"
