"""Auth that does not end: API keys, headers, basic and bearer, over real HTTP; their secrets are shown nowhere."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from connectors import registry
from connectors.auth import check_auth
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Outcome, SettingsInvalid, Uncertain
from connectors.redaction import Redactor

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
KEY = "k€y/with +&=characters"
PLAIN = "key-with-plain-characters"


@pytest.fixture
async def erp() -> AsyncIterator[PlainErp]:
    async with PlainErp() as erp:
        erp._authorization = ""
        yield erp


async def send(base_url: str, auth: Mapping[str, Any], **request: Any) -> tuple[Outcome, str]:
    """The outcome, and what can be seen of the connection besides."""
    connector = registry.open_connector("rest", ConnectionSettings(base_url, auth, egress=LOOPBACK))
    prepared = connector.prepare({"method": "POST", "path": "/api/orders", "body": {}, **request}, "k")
    try:
        return await connector.send(prepared), f"{connector!r} {prepared!r} {prepared.to_json()}"
    finally:
        await connector.aclose()


async def test_a_key_in_a_header(erp: PlainErp) -> None:
    auth = {"type": "api_key", "header": "X-API-Key", "key": PLAIN}
    await send(erp.base_url, auth, headers={"x-api-key": "the mapping's own", "X-Plant": "CL01"})
    assert erp.calls[0].headers["x-api-key"] == PLAIN
    assert erp.calls[0].headers["x-plant"] == "CL01"


async def test_a_key_with_a_prefix(erp: PlainErp) -> None:
    await send(erp.base_url, {"type": "api_key", "header": "Authorization", "prefix": "token ", "key": PLAIN})
    assert erp.calls[0].headers["authorization"] == f"token {PLAIN}"


async def test_a_key_in_the_query_stands_with_the_mapping_s_own(erp: PlainErp) -> None:
    auth = {"type": "api_key", "query": "api key", "key": PLAIN}
    await send(erp.base_url, auth)
    await send(erp.base_url, auth, query={"a": "1"})
    assert [call.query for call in erp.calls] == [f"api%20key={PLAIN}", f"a=1&api%20key={PLAIN}"]


async def test_a_key_in_the_query_is_shown_nowhere(erp: PlainErp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    auth = {"type": "api_key", "query": "key", "key": PLAIN}
    echo = Reply(400, {"message": f"no such key: {PLAIN}"}, {"Location": f"/api/orders?key={PLAIN}"})
    erp.script([Step(reply=echo), Step(cut="before"), Step(reply=Reply(302, None, dict(echo.headers)))])
    seen = [str(await send(erp.base_url, auth)) for _ in range(3)]
    await erp.down()
    seen += [str(await send(erp.base_url, auth)), str(await send("http://localhost:1", auth)), caplog.text]
    assert [text for text in seen if PLAIN in text] == []
    assert [call.query for call in erp.calls] == [f"key={PLAIN}"] * 3


async def test_a_key_in_the_query_is_not_told_by_what_goes_wrong_below_us() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 nonsense about " + head.split()[1] + b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        outcome, _ = await send(base_url, {"type": "api_key", "query": "key", "key": PLAIN})
    assert isinstance(outcome, Uncertain)
    assert "key=***" in outcome.message
    assert PLAIN not in outcome.message


async def test_headers_stand_alone_or_beside_another_kind(erp: PlainErp) -> None:
    headers = {"X-Tenant-Key": PLAIN, "X-App": "bridge"}
    await send(erp.base_url, {"type": "headers", "headers": headers})
    await send(erp.base_url, {"type": "bearer", "token": "t-4711", "headers": headers})
    assert [call.headers["x-tenant-key"] for call in erp.calls] == [PLAIN, PLAIN]
    assert [call.headers.get("authorization") for call in erp.calls] == [None, "Bearer t-4711"]


@pytest.mark.parametrize(
    "shown",
    [
        KEY,
        "k\\u20acy/with +&=characters",
        "k%E2%82%ACy%2Fwith%20%2B%26%3Dcharacters",
        "k%E2%82%ACy%2Fwith+%2B%26%3Dcharacters",
        "k€y/with +&amp;=characters",
    ],
)
def test_a_secret_is_masked_in_every_spelling(shown: str) -> None:
    assert Redactor([KEY])(f"<{shown}>".encode()) == b"<***>"


def test_what_is_handed_out_is_masked_until_much_else_was() -> None:
    redact = Redactor(["own-secret"])
    redact.hide(["granted-1"])
    assert redact.text("granted-1 own-secret") == "*** ***"
    redact.hide(f"granted-{number}" for number in range(2, 34))
    assert redact.text("granted-1 granted-2 own-secret") == "granted-1 *** ***"


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"type": "api_key", "key": "k\n", "header": "X"}, "auth.key: has a line break"),
        ({"type": "api_key", "key": KEY, "header": "X"}, "auth.key: has letters outside ASCII"),
        ({"type": "headers", "headers": {"X": "a", "x": "b"}}, "auth.headers: has the same name twice"),
        ({"type": "headers", "headers": {"X Y": "a"}}, "auth.headers.X Y: must be a header's name"),
        ({"type": "headers"}, "auth.headers: is missing: write"),
    ],
)
def test_what_no_header_can_carry_is_refused_without_its_value(auth: Mapping[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        check_auth(auth)
    assert str(refused.value).startswith(said)
    assert KEY not in str(refused.value)
