"""The kind `soap` against the simulated SOAP ERP: real envelopes on real HTTP."""

from collections.abc import AsyncIterator
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_server import Reply, Step
from bridge.demo.erp_soap import CLOSED_COST_CENTER, PASSWORD, PATH, USERNAME, SoapErp, throttled, wsdl
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Outcome,
    Rejected,
    RetryLater,
    Throttled,
    Unavailable,
)

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
TOKEN = {"type": "wsse_username", "username": USERNAME, "password": PASSWORD}
FILES = {"wsdl/erp.wsdl": wsdl()}


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_wsdl.py` shows what that process is for."""
    monkeypatch.setattr("connectors.wsdl_loading.try_out", lambda _documents: None)


@pytest.fixture
async def erp() -> AsyncIterator[SoapErp]:
    async with SoapErp() as server:
        yield server


def connector(erp: SoapErp, auth: Any = None, **options: Any) -> Connector:
    settings = ConnectionSettings(
        erp.base_url + PATH,
        auth or TOKEN,
        timeout_s=10.0,
        options={"wsdl": "wsdl/erp.wsdl", **options},
        egress=LOOPBACK,
        files=FILES,
    )
    return registry.open_connector("soap", settings)


def requisition(external: str = "f:0/1:1", **line: Any) -> dict[str, Any]:
    item = {
        "position": 10,
        "item": "R-1",
        "quantity": {"@unit": "EA", "#text": "2,000"},
        "costCenter": "CC-1",
    }
    tree = {
        "externalId": external,
        "note": 'Argolla de 5/8\\ con lado "plano" { <PPC> & }',
        "neededBy": "2026-11-24",
        "line": [{**item, "price": Decimal("12.50"), **line}],
    }
    return {
        "operation": "CreateRequisition",
        "headers": {"Company": 7},
        "arguments": {"requisition": tree},
    }


async def send(one: Connector, request: dict[str, Any] | None = None) -> Outcome:
    return await one.send(one.prepare(request or requisition(), "f:0/1:1/acme/orders"))


async def once(erp: SoapErp, request: dict[str, Any] | None = None, **settings: Any) -> Outcome:
    one = connector(erp, **settings)
    try:
        return await send(one, request)
    finally:
        await one.aclose()


@pytest.mark.parametrize("port", ["ErpSoap", "ErpSoap12"])
@pytest.mark.parametrize("digest", [False, True])
async def test_what_is_sent_is_what_the_erp_has(erp: SoapErp, port: str, *, digest: bool) -> None:
    outcome = await once(erp, auth={**TOKEN, "digest": digest}, port=port)
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    assert outcome.answer.body == {
        "result": {
            "number": "PR-000001",
            "duplicate": False,
            "total": Decimal("25.00"),
            "bookedAt": "2026-11-24T03:28:19.832-03:00",
        }
    }
    [effect] = erp.effects
    assert effect.body["note"] == 'Argolla de 5/8\\ con lado "plano" { <PPC> & }'
    assert effect.body["line"][0]["quantity"] == {"@unit": "EA", "#text": "2,000"}
    assert effect.idempotency_key == "f:0/1:1/acme/orders"
    assert erp.requests[0].company() == "7"


async def test_a_repeat_is_known_by_its_external_id(erp: SoapErp) -> None:
    await once(erp)
    outcome = await once(erp)
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    assert outcome.answer.body["result"]["duplicate"] is True
    assert outcome.answer.body["result"]["warning"] == ["it was there already"]
    assert len(erp.effects) == 1


async def test_nil_arrives_as_nothing(erp: SoapErp) -> None:
    await once(erp, requisition(costCenter={"@xsi:nil": "true"}))
    assert erp.effects[0].body["line"][0]["costCenter"] is None


async def test_what_does_not_fit_the_wsdl_is_not_sent(erp: SoapErp) -> None:
    outcome = await once(erp, requisition(position="ten"))
    assert isinstance(outcome, Rejected)
    assert outcome.message == (
        "request.arguments.requisition.line[0].position must be a whole number, this is 'ten'; nothing was sent"
    )
    assert erp.calls == []


async def test_a_fault_of_the_clients_is_no_for_good_one_of_the_servers_may_pass() -> None:
    async with SoapErp(locked_every=1) as erp:
        one = connector(erp)
        closed = await send(one, requisition(costCenter=CLOSED_COST_CENTER))
        assert isinstance(closed, Rejected)
        assert closed.code == "E265"
        locked = await send(one)
        assert isinstance(locked, RetryLater)
        assert locked.code == "E056"
        assert locked.message == "SOAP fault Server: requisition is locked by user PLANNER1"
        assert isinstance(await send(one), Delivered)
        await one.aclose()


async def test_a_throttle_is_one_of_its_own(erp: SoapErp) -> None:
    erp.script([Step(throttled())])
    outcome = await once(erp)
    assert isinstance(outcome, Throttled)
    assert outcome.code == "WS_CONCUR_SESSION_DISALLWD"


async def test_a_token_that_is_not_accepted_is_the_connections_trouble(erp: SoapErp) -> None:
    outcome = await once(erp, auth={**TOKEN, "password": "wrong-password"})
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert erp.effects == []


async def test_http_authentication_goes_with_it_as_well() -> None:
    async with SoapErp(authorization="Bearer t0ken-of-the-erp") as erp:
        assert isinstance(await once(erp, auth={"type": "bearer", "token": "t0ken-of-the-erp"}), Delivered)


async def test_addressing(erp: SoapErp) -> None:
    await once(erp, addressing=True)
    sent = erp.calls[0].body
    assert ">urn:erp:maintenance:1/CreateRequisition</wsa:Action>" in sent
    assert f">{erp.base_url}{PATH}</wsa:To>" in sent


async def test_the_token_is_seen_nowhere_but_in_the_envelope(
    erp: SoapErp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    password = "geheim<&>wort"
    erp.script(
        [Step(Reply(500, f"you sent {password}")), Step(Reply(500, "you sent geheim&lt;&amp;&gt;wort"))]
    )
    one = connector(erp, auth={**TOKEN, "password": password})
    prepared = one.prepare(requisition(), "k")
    seen = [repr(prepared), str(prepared.to_json()), repr(one)]
    seen += [repr(await one.send(prepared)) for _ in range(3)]
    await erp.down()
    seen += [repr(await one.send(prepared)), caplog.text]
    await one.aclose()
    assert "geheim&lt;&amp;&gt;wort" in erp.calls[0].body
    assert [text for text in seen if "geheim" in text] == []


async def test_the_wsdl_may_come_from_the_erp_itself(erp: SoapErp) -> None:
    settings = ConnectionSettings(
        erp.base_url + PATH, TOKEN, options={"wsdl": f"{erp.base_url}{PATH}?wsdl"}, egress=LOOPBACK
    )
    one = registry.open_connector("soap", settings)
    assert isinstance(await send(one), Delivered)
    await one.aclose()
    assert [(call.method, call.query) for call in erp.calls] == [("GET", "wsdl"), ("POST", "")]
