"""Passes that an ERP grants and ends: OAuth 2.0 tokens and sessions, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote_plus

import pytest
from structlog.testing import capture_logs

from bridge.demo.erp_server import Reply, Step
from connectors import registry
from connectors.auth import renewal
from connectors.auth.oauth2 import token_endpoint
from connectors.auth.passes import IssuerAnswer
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    NotKept,
    Outcome,
    Rejected,
    Unavailable,
    Uncertain,
)
from tests.connectors.issuing import CLIENT, CLIENT_SECRET, PASSWORD, IssuingErp

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
Open = Callable[..., Connector]


@pytest.fixture
async def erp() -> AsyncIterator[IssuingErp]:
    async with IssuingErp() as erp:
        yield erp


@pytest.fixture
async def opened(erp: IssuingErp) -> AsyncIterator[Open]:
    connectors = []

    def connect(auth: Mapping[str, Any], **settings: Any) -> Connector:
        usual = {"timeout_s": 5.0, "concurrency": 8, "egress": LOOPBACK, **settings}
        connectors.append(registry.open_connector("rest", ConnectionSettings(erp.base_url, auth, **usual)))
        return connectors[-1]

    yield connect
    for connector in connectors:
        await connector.aclose()


def credentials(erp: IssuingErp, **members: Any) -> dict[str, Any]:
    return {
        "type": "oauth2_client_credentials",
        "token_url": f"{erp.base_url}/oauth/token",
        "client_id": CLIENT,
        "client_secret": CLIENT_SECRET,
        **members,
    }


def login(**members: Any) -> dict[str, Any]:
    body = {"CompanyDB": "SBODEMO", "UserName": "manager", "Password": PASSWORD, "Language": 25}
    return {"type": "session", "path": "/b1s/v1/Login", "body": body, **members}


async def insert(connector: Connector, number: int = 1) -> Outcome:
    request = {"method": "POST", "path": "/api/orders", "body": {"n": number}}
    return await connector.send(connector.prepare(request, f"key-{number}"))


async def test_one_token_serves_many_requests(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp, scope="a b", params={"audience": "https://erp"}))
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(12)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert erp.asked == [{"grant_type": "client_credentials", "scope": "a b", "audience": "https://erp"}]


async def test_the_secret_may_stand_in_the_form(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp, client_auth="client_secret_post"))
    assert isinstance(await insert(connector), Delivered)
    assert erp.asked[0]["client_secret"] == CLIENT_SECRET


async def test_an_ended_token_is_renewed_once_for_all(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp))
    await insert(connector)
    erp.end_passes()
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(2, 10)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len(erp.asked) == 2
    assert len(erp.effects) == 9


async def test_what_refuses_the_old_token_late_does_not_end_the_new_one(
    erp: IssuingErp, opened: Open
) -> None:
    connector = opened(credentials(erp))
    await insert(connector)
    late = asyncio.Event()
    erp.script([Step(hold=late, reply=Reply(401)), Step(reply=Reply(401))])
    first = asyncio.create_task(insert(connector, 2))
    await erp.until(lambda: len(erp.calls) == 3)
    assert isinstance(await insert(connector, 3), Delivered)
    late.set()
    assert isinstance(await first, Delivered)
    assert len(erp.asked) == 2


async def test_a_token_refused_twice_holds_the_route(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp))
    await insert(connector)
    refused = Step(reply=Reply(401, {"message": "no"}))
    erp.script([refused, Step(), refused])
    outcome = await insert(connector, 2)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert [call.path for call in erp.calls[-3:]] == ["/api/orders", "/oauth/token", "/api/orders"]


async def test_a_login_serves_many_requests_with_all_its_cookies(erp: IssuingErp, opened: Open) -> None:
    connector = opened(login())
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(12)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert [call.body["Language"] for call in erp.logins] == [25]
    assert erp.calls[-1].headers["cookie"] == f"B1SESSION={erp.sessions[0]}; ROUTEID=.node1"


async def test_an_ended_session_is_renewed_once_for_all(erp: IssuingErp, opened: Open) -> None:
    connector = opened(login())
    await insert(connector)
    erp.end_passes()
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(2, 10)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len(erp.logins) == 2


async def test_a_login_may_give_a_token_and_want_a_header(erp: IssuingErp, opened: Open) -> None:
    auth = {
        "type": "session",
        "path": "/auth",
        "body": {"username": "u", "access_key": PASSWORD},
        "token": "data.token",
        "headers": {"Partner-Id": "FracttalBridge"},
    }
    assert isinstance(await insert(opened(auth)), Delivered)
    assert [call.headers["partner-id"] for call in erp.calls] == ["FracttalBridge"] * 2
    assert erp.calls[1].headers["authorization"] == f"Bearer {erp.tokens[0]}"


async def test_a_login_may_end_by_a_redirect(erp: IssuingErp, opened: Open) -> None:
    cookies = ["B1SESSION=; Max-Age=0", "B1SESSION=session-of-a-form; Path=/", "ROUTEID=.node1"]
    erp.sessions.append("session-of-a-form")
    erp.script([Step(reply=Reply(302, None, {"Location": "/home"}, cookies))])
    auth = login(form={"user": "manager", "pass": PASSWORD})
    del auth["body"]
    assert isinstance(await insert(opened(auth)), Delivered)
    assert erp.calls[0].body == f"user=manager&pass={quote_plus(PASSWORD)}"
    assert erp.calls[1].headers["cookie"] == "B1SESSION=session-of-a-form; ROUTEID=.node1"


async def test_a_token_may_go_into_another_header(erp: IssuingErp, opened: Open) -> None:
    await insert(opened(credentials(erp, prefix="Zoho-oauthtoken ")))
    await insert(opened(credentials(erp, header="X-Token")))
    apis = [call for call in erp.calls if call.path == "/api/orders"]
    assert apis[0].headers["authorization"] == f"Zoho-oauthtoken {erp.tokens[0]}"
    assert apis[-1].headers["x-token"] == erp.tokens[-1]


async def test_a_session_may_end_with_another_status(erp: IssuingErp, opened: Open) -> None:
    connector = opened(login(ended=[401, 403]))
    await insert(connector)
    erp.script([Step(reply=Reply(403, {"message": "session ended"}))])
    assert isinstance(await insert(connector, 2), Delivered)
    assert len(erp.logins) == 2


async def test_a_403_of_a_fresh_session_is_the_erp_s_answer(erp: IssuingErp, opened: Open) -> None:
    connector = opened(login(ended=[401, 403]))
    await insert(connector)
    refused = Step(reply=Reply(403, {"message": "not this plant"}))
    erp.script([refused, Step(), refused])
    assert isinstance(await insert(connector, 3), Rejected)


async def test_wrong_credentials_say_what_the_endpoint_said_and_no_secret(
    erp: IssuingErp, opened: Open
) -> None:
    wrong = "bad/of+the:client="
    connector = opened(credentials(erp, client_secret=wrong, client_auth="client_secret_post"))
    outcome = await insert(connector)
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert f"no access token: {erp.base_url} answered 400: " in outcome.message
    assert "client_secret=***" in outcome.message
    assert "invalid_client" in outcome.message
    assert "bridge secret set" in outcome.message
    assert "client=" not in outcome.message
    assert [call.path for call in erp.calls] == ["/oauth/token"]


async def test_wrong_credentials_are_not_tried_with_every_event(erp: IssuingErp, opened: Open) -> None:
    connector = opened(login(body={"UserName": "manager", "Password": "wrong-horse"}))
    outcomes = [await insert(connector, number) for number in range(5)]
    assert {(type(outcome), getattr(outcome, "code", "")) for outcome in outcomes} == {
        (Unavailable, "authentication")
    }
    assert len(erp.logins) == 1


async def test_a_busy_token_endpoint_is_left_alone_for_as_long_as_it_asks(
    erp: IssuingErp, opened: Open
) -> None:
    erp.script([Step(reply=Reply(503, {"error": "later"}, {"Retry-After": "7"}))])
    connector = opened(credentials(erp))
    for number in range(3):
        outcome = await insert(connector, number)
        assert isinstance(outcome, Unavailable)
        assert (outcome.after, outcome.code) == (7.0, "unavailable")
    assert len(erp.calls) == 1


@pytest.mark.parametrize(
    "fate",
    [
        Step(cut="before"),
        Step(cut="after"),
        Step(reply=Reply(200, {"token": "elsewhere"})),
        Step(reply=Reply(200, {"access_token": "line\nbreak"})),
        Step(reply=Reply(200, {"access_token": "a", "token_type": "mac"})),
        Step(reply=Reply(200, {"access_token": "a" * 40_000})),
        Step(reply=Reply(200, {"access_token": "a", "id_token": "a" * 40_000})),
        Step(reply=Reply(302, None, {"Location": "/elsewhere"})),
    ],
)
async def test_no_token_means_the_event_was_not_sent(erp: IssuingErp, opened: Open, fate: Step) -> None:
    erp.script([fate])
    outcome = await insert(opened(credentials(erp)))
    assert isinstance(outcome, Unavailable)
    assert [call.path for call in erp.calls] == ["/oauth/token"]


async def test_a_hanging_token_endpoint_has_a_limit_and_holds_all_at_once(
    erp: IssuingErp, opened: Open
) -> None:
    never = asyncio.Event()
    erp.script([Step(hold=never)])
    connector = opened(credentials(erp), timeout_s=1.0)  # long enough for what is answered
    outcomes = await asyncio.gather(*(insert(connector, number) for number in range(20)))
    assert {(type(outcome), getattr(outcome, "code", "")) for outcome in outcomes} == {
        (Unavailable, "timeout")
    }
    assert len(erp.calls) == 1
    never.set()
    assert isinstance(await insert(connector, 21), Delivered)


async def test_whoever_stops_waiting_leaves_the_token_to_the_others(erp: IssuingErp, opened: Open) -> None:
    answer = asyncio.Event()
    erp.script([Step(hold=answer)])
    connector = opened(credentials(erp))
    first, second = (asyncio.create_task(insert(connector, number)) for number in (1, 2))
    await erp.until(lambda: len(erp.calls) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    answer.set()
    assert isinstance(await second, Delivered)
    assert len(erp.asked) == 1


async def test_a_token_is_renewed_before_it_ends_and_nobody_waits(
    erp: IssuingErp, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_EARLY_SHARE", 1.0)  # from its first second on
    erp.expires_in = "60"
    connector = opened(credentials(erp))
    await insert(connector)
    answer = asyncio.Event()
    before = len(erp.calls)
    erp.script([Step(), Step(hold=answer)])
    first = insert(connector, 2)
    assert isinstance(await first, Delivered)  # with the old one
    await erp.until(lambda: len(erp.calls) == before + 2)
    answer.set()
    await erp.until(lambda: len(erp.tokens) == 2)


@pytest.mark.parametrize(
    ("said", "lasts"),
    [(3600, 3600.0), ("3600", 3600.0), (None, 600.0), (0, 600.0), (True, 600.0), (-5, 600.0)],
)
async def test_how_long_a_token_is_used(erp: IssuingErp, said: Any, lasts: float) -> None:
    body = {"access_token": "a", "expires_in": said}
    assert token_endpoint(credentials(erp)).granted(IssuerAnswer(200, {}, body)).lasts_s == lasts


async def test_a_token_endpoint_is_no_way_into_private_networks(erp: IssuingErp, opened: Open) -> None:
    outcome = await insert(opened(credentials(erp), egress=EgressPolicy()))
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "egress"
    assert outcome.message.startswith("no access token: ")
    assert erp.calls == []


async def test_an_uncertain_answer_is_not_sent_again(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp))
    await insert(connector)
    erp.script([Step(cut="after")])
    assert isinstance(await insert(connector, 2), Uncertain)
    assert len(erp.calls) == 3


async def test_what_is_no_longer_permitted_after_a_renewal_is_not_sent(erp: IssuingErp, opened: Open) -> None:
    connector = opened(credentials(erp))
    await insert(connector)
    erp.end_passes()
    asked: list[int] = []

    def permit() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise NotMine

    prepared = connector.prepare({"method": "POST", "path": "/api/orders", "body": {}}, "k")
    with pytest.raises(NotMine):
        await connector.send(prepared, permit)
    assert [call.path for call in erp.calls[-2:]] == ["/api/orders", "/oauth/token"]
    assert len(erp.effects) == 1


@pytest.mark.parametrize("kind", ["oauth", "session"])
async def test_nothing_granted_comes_out_even_when_the_erp_echoes_it(
    erp: IssuingErp, opened: Open, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    connector = opened(credentials(erp) if kind == "oauth" else login())
    await insert(connector)
    granted = (erp.tokens or erp.sessions)[0]
    own = CLIENT_SECRET if kind == "oauth" else PASSWORD
    echo = {"message": f"you sent {granted}", "secret": [own]}
    replies = [Reply(status, echo, {"X-Echo": granted}) for status in (200, 400, 429, 500, 502, 503)]
    erp.script([Step(reply=reply) for reply in replies])
    seen = [repr(await insert(connector, number)) for number in range(6)]
    seen += [repr(connector), repr(connector.prepare({"method": "GET", "path": "/"}, "k")), caplog.text]
    for secret in (granted, own, own.replace('"', '\\"')):
        assert [text for text in seen if secret in text] == []


class NotMine(Exception):
    """Raised by who asks before a request leaves."""


def refreshing(erp: IssuingErp, refresh_token: str = "refresh-token-1") -> dict[str, Any]:
    return {**credentials(erp), "type": "oauth2_refresh_token", "refresh_token": refresh_token}


async def test_a_refresh_token_that_is_replaced_is_kept_and_used_next(erp: IssuingErp, opened: Open) -> None:
    kept: list[tuple[str, str, str]] = []

    async def keep(*replaced: str) -> None:
        kept.append((replaced[0], replaced[1], replaced[2]))

    connector = opened(refreshing(erp), keep=keep)
    assert isinstance(await insert(connector), Delivered)
    erp.end_passes()
    assert isinstance(await insert(connector, 2), Delivered)
    assert [form["refresh_token"] for form in erp.asked] == ["refresh-token-1", "refresh-token-2"]
    assert kept == [
        ("refresh_token", "refresh-token-1", "refresh-token-2"),
        ("refresh_token", "refresh-token-2", "refresh-token-3"),
    ]


async def test_a_refresh_token_that_cannot_be_kept_is_used_and_told_of(erp: IssuingErp, opened: Open) -> None:
    async def keep(*_: str) -> None:
        raise NotKept("secret erp of tenant acme was set meanwhile")

    connector = opened(refreshing(erp), keep=keep)
    with capture_logs() as logs:
        assert isinstance(await insert(connector), Delivered)
    (told,) = logs
    assert told["problem"] == "secret erp of tenant acme was set meanwhile"
    assert "refresh-token" not in str(told)


async def test_a_bucket_that_fails_in_a_way_it_must_not_stops_no_delivery(
    erp: IssuingErp, opened: Open
) -> None:
    async def keep(*_: str) -> None:
        raise RuntimeError("defect")

    connector = opened(refreshing(erp), keep=keep)
    with capture_logs() as logs:
        assert isinstance(await insert(connector), Delivered)
    (told,) = logs
    assert told["log_level"] == "error"


async def test_a_refresh_token_on_its_way_is_not_lost_when_the_connection_closes(
    erp: IssuingErp, opened: Open
) -> None:
    kept: list[str] = []
    keeping, may_end = asyncio.Event(), asyncio.Event()

    async def keep(*replaced: str) -> None:
        keeping.set()
        await may_end.wait()
        kept.append(replaced[2])

    connector = opened(refreshing(erp), keep=keep)
    sending = asyncio.create_task(insert(connector))
    await keeping.wait()
    closing = asyncio.create_task(connector.aclose())
    sending.cancel()
    await asyncio.wait((sending,))
    may_end.set()
    await closing
    assert kept == ["refresh-token-2"]


async def test_an_ended_refresh_token_says_what_to_do(erp: IssuingErp, opened: Open) -> None:
    outcome = await insert(opened(refreshing(erp, "stale-refresh-token")))
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert "invalid_grant" in outcome.message
    assert "bridge secret set" in outcome.message
    assert "stale" not in outcome.message
