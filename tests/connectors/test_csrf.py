"""CSRF sessions as OData servers want them, against the SAP-like ERP."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from bridge.demo.erp_sap import PASSWORD, SERVICE, USERNAME, SapErp
from bridge.demo.erp_server import Reply, Step
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Delivered, Outcome, Rejected, Unavailable

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
REFUSED = Reply(403, "CSRF token validation failed", {"x-csrf-token": "Required"})


@pytest.fixture
async def sap() -> AsyncIterator[SapErp]:
    async with SapErp() as erp:
        yield erp


@pytest.fixture
async def connector(sap: SapErp) -> AsyncIterator[Connector]:
    opened = open_rest(sap)
    yield opened
    await opened.aclose()


def open_rest(sap: SapErp, csrf: bool | str = True, password: str = PASSWORD) -> Connector:  # noqa: FBT001, FBT002
    auth = {"type": "basic", "username": USERNAME, "password": password}
    settings = ConnectionSettings(
        sap.base_url, auth, timeout_s=5.0, concurrency=8, options={"csrf": csrf}, egress=LOOPBACK
    )
    return registry.open_connector("rest", settings)


async def insert(connector: Connector, number: int = 1) -> Outcome:
    body = {
        "PurchaseRequisitionType": "NB",
        "PurReqnDescription": f"#{number}",
        "to_PurchaseReqnItem": [{"Plant": "CL01", "RequestedQuantity": "1"}],
    }
    request = {"method": "POST", "path": f"{SERVICE}/A_PurchaseRequisitionHeader", "body": body}
    return await connector.send(connector.prepare(request, f"key-{number}"))


async def test_one_token_serves_many_requests(sap: SapErp, connector: Connector) -> None:
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(12)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert [call.path for call in sap.calls if call.method == "GET"] == [f"{SERVICE}/"]


async def test_all_cookies_come_back(sap: SapErp, connector: Connector) -> None:
    await insert(connector)
    cookie = sap.calls[1].headers["cookie"]
    assert "sap-usercontext=sap-client=100" in cookie
    assert "SAP_SESSIONID_S4H_100=" in cookie


async def test_an_ended_session_is_renewed_once_for_all(sap: SapErp, connector: Connector) -> None:
    await insert(connector)
    sap.end_sessions()
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(2, 10)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len([call for call in sap.calls if call.method == "GET"]) == 2
    assert len(sap.effects) == 9


async def test_who_waits_for_a_fetch_that_fails_does_not_wait_for_another(
    sap: SapErp, connector: Connector
) -> None:
    sap.script([Step(reply=Reply(503))])
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(6)))
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert len(sap.calls) == 1
    assert isinstance(await insert(connector), Delivered)


async def test_tokens_for_one_request_each_serve_many_at_once(sap: SapErp) -> None:
    sap._token_uses = 1
    opened = open_rest(sap)
    outcomes = await asyncio.gather(*(insert(opened, number) for number in range(4)))
    await opened.aclose()
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len([call for call in sap.calls if call.method == "GET"]) == 4


async def test_a_token_refused_again_and_again_holds_the_route(sap: SapErp, connector: Connector) -> None:
    await insert(connector)
    fetched = Reply(200, {}, {"x-csrf-token": "useless"})
    sap.script([Step(reply=REFUSED), *[Step(reply=fetched), Step(reply=REFUSED)] * 3])
    outcome = await insert(connector, 2)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "csrf"
    assert isinstance(await insert(connector, 3), Delivered)


async def test_another_403_is_the_erp_s_answer(sap: SapErp, connector: Connector) -> None:
    await insert(connector)
    sap.script([Step(reply=Reply(403, {"error": {"code": "X", "message": "no authorization for plant"}}))])
    assert isinstance(await insert(connector, 2), Rejected)


@pytest.mark.parametrize(
    "fate",
    [
        Step(cut="before"),
        Step(reply=Reply(404)),
        Step(reply=Reply(200, {})),
        Step(reply=Reply(200, {}, {"x-csrf-token": "tök"})),
        Step(reply=Reply(200, {}, {"x-csrf-token": "tok\x7f"})),
        Step(
            reply=Reply(200, {}, {"x-csrf-token": "t"}, cookies=[f"c{at}=" + "x" * 4_000 for at in range(9)])
        ),
    ],
)
async def test_no_token_means_the_event_was_not_sent(sap: SapErp, connector: Connector, fate: Step) -> None:
    sap.script([fate])
    outcome = await insert(connector)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "csrf"
    assert len(sap.calls) == 1


async def test_wrong_credentials_are_named_at_the_token(sap: SapErp) -> None:
    opened = open_rest(sap, password="wrong")
    outcome = await insert(opened)
    await opened.aclose()
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"


async def test_the_token_comes_from_where_the_option_says(sap: SapErp) -> None:
    opened = open_rest(sap, csrf=f"{SERVICE}/$metadata")
    assert isinstance(await insert(opened), Delivered)
    await opened.aclose()
    assert sap.calls[0].path == f"{SERVICE}/$metadata"


async def test_reading_wants_no_token(sap: SapErp, connector: Connector) -> None:
    prepared = connector.prepare({"method": "GET", "path": f"{SERVICE}/"}, "k")
    assert isinstance(await connector.send(prepared), Delivered)
    assert "x-csrf-token" not in sap.calls[0].headers


async def test_the_session_comes_out_nowhere(sap: SapErp, connector: Connector) -> None:
    outcome = await insert(connector)
    token = sap.calls[1].headers["x-csrf-token"]
    session = token[::-1].strip("=")
    sap.script([Step(reply=Reply(400, {"message": f"you sent {token} and {session}"}))])
    echoed = await insert(connector, 2)
    assert token not in repr((outcome, echoed))
    assert session not in repr((outcome, echoed))
    assert token not in repr(connector)


async def test_a_server_that_echoes_the_session_shows_nothing_of_it(
    sap: SapErp, connector: Connector
) -> None:
    await insert(connector)
    sent = sap.calls[1].headers
    session = sent["x-csrf-token"][::-1].strip("=")
    echo = {"error": {"message": f"{sent['x-csrf-token']} {sent['cookie']}"}, "client": "sap-client=100"}
    sap.script([Step(reply=Reply(400, echo, {"X-Sent": sent["cookie"]}))])
    outcome = await insert(connector, 2)
    assert isinstance(outcome, Rejected)
    assert "HTTP 400: *** sap-usercontext=sap-client=100; SAP_SESSIONID_S4H_100=***" in outcome.message
    assert session not in repr(outcome)
    assert sent["x-csrf-token"] not in repr(outcome)


async def test_what_is_no_longer_permitted_when_the_token_has_come_is_not_sent(
    sap: SapErp, connector: Connector
) -> None:
    def permit() -> None:
        raise NotMine

    prepared = connector.prepare({"method": "POST", "path": f"{SERVICE}/A", "body": {}}, "k")
    with pytest.raises(NotMine):
        await connector.send(prepared, permit)
    assert [call.method for call in sap.calls] == ["GET"]
    assert isinstance(await insert(connector), Delivered)


class NotMine(Exception):
    """Raised by who asks before a request leaves."""


async def test_no_login_is_told_as_such_where_a_csrf_token_was_wanted(sap: SapErp) -> None:
    auth = {"type": "session", "path": "/login", "body": {"Password": "wrong-horse"}}
    settings = ConnectionSettings(sap.base_url, auth, options={"csrf": True}, egress=LOOPBACK)
    opened = registry.open_connector("rest", settings)
    outcome = await insert(opened)
    await opened.aclose()
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert outcome.message.startswith("no session: ")


async def test_a_csrf_session_s_cookies_stand_beside_the_login_s(sap: SapErp) -> None:
    sap._authorization = ""
    sap.script([Step(reply=Reply(200, None, cookies=["LOGIN=of-the-gateway-4711"]))])
    auth = {"type": "session", "path": "/login", "body": {"Password": "correct-horse"}}
    settings = ConnectionSettings(sap.base_url, auth, options={"csrf": True}, egress=LOOPBACK)
    opened = registry.open_connector("rest", settings)
    assert isinstance(await insert(opened), Delivered)
    await opened.aclose()
    cookies = [call.headers.get("cookie", "").partition("; ") for call in sap.calls]
    assert [cookie[0] for cookie in cookies] == ["", "LOGIN=of-the-gateway-4711", "LOGIN=of-the-gateway-4711"]
    assert cookies[2][2].startswith("sap-usercontext=")


async def test_they_stand_beside_a_login_s_token_that_is_itself_a_cookie(sap: SapErp) -> None:
    sap._authorization = ""
    sap.script([Step(reply=Reply(200, {"session": "of-the-gateway-4711"}))])
    auth = {"type": "session", "path": "/login", "token": "session", "header": "Cookie", "prefix": "sid="}
    settings = ConnectionSettings(sap.base_url, auth, options={"csrf": True}, egress=LOOPBACK)
    opened = registry.open_connector("rest", settings)
    assert isinstance(await insert(opened), Delivered)
    await opened.aclose()
    assert sap.calls[2].headers["cookie"].startswith("sid=of-the-gateway-4711; sap-usercontext=")
