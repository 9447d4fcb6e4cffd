"""What every connector kind must do, on real HTTP. A new kind adds a row to KINDS, and passes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import ErpServer, Reply, Step
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Delivered,
    Outcome,
    Rejected,
    Throttled,
    Unavailable,
    Uncertain,
)
from connectors.redaction import Redactor

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
SECRET = "correct-horse-battery"
KEY = "fracttal:0/16B3748:3/acme/work-orders"
ECHO = {"message": f"no: {SECRET}\nBearer {SECRET}", "you_sent": [SECRET]}


@dataclass(frozen=True, slots=True)
class Kind:
    """request: creates one document; rejected, throttled, unavailable: how this kind's server says so."""

    name: str
    request: Mapping[str, Any]
    rejected: Reply
    throttled: Reply
    unavailable: Reply


KINDS = [
    Kind(
        "rest",
        {"method": "POST", "path": "/api/work_orders", "body": {"text": "Argolla de 5/8\\ { }"}},
        rejected=Reply(422, {"error": {"code": "E7", "message": "no such\nplant"}}),
        throttled=Reply(429, {"message": "slow down"}, {"Retry-After": "7"}),
        unavailable=Reply(503, None, {"Retry-After": "9"}),
    )
]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture
async def erp() -> AsyncIterator[PlainErp]:
    async with PlainErp(SECRET) as server:
        yield server


def settings(base_url: str, *, secret: str = SECRET, timeout_s: float = 10.0) -> ConnectionSettings:
    return ConnectionSettings(
        base_url, {"type": "bearer", "token": secret}, timeout_s=timeout_s, egress=LOOPBACK
    )


async def send(kind: Kind, connector: Connector) -> Outcome:
    return await connector.send(connector.prepare(kind.request, KEY))


async def once(kind: Kind, erp: ErpServer, *, timeout_s: float = 10.0) -> Outcome:
    connector = registry.open_connector(kind.name, settings(erp.base_url, timeout_s=timeout_s))
    try:
        return await send(kind, connector)
    finally:
        await connector.aclose()


@by_kind
async def test_delivered_means_the_erp_has_it(kind: Kind, erp: PlainErp) -> None:
    outcome = await once(kind, erp)
    assert isinstance(outcome, Delivered)
    assert [effect.idempotency_key for effect in erp.effects] == [KEY]


@by_kind
async def test_the_same_delivery_twice_is_one_effect(kind: Kind, erp: PlainErp) -> None:
    first, second = await once(kind, erp), await once(kind, erp)
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    assert len(erp.effects) == 1


@by_kind
async def test_rejected_carries_the_erps_words_on_one_line(kind: Kind, erp: PlainErp) -> None:
    erp.script([Step(reply=kind.rejected)])
    outcome = await once(kind, erp)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "E7"
    assert outcome.message.endswith("no such plant")
    assert erp.effects == []


@by_kind
async def test_throttled_says_for_how_long(kind: Kind, erp: PlainErp) -> None:
    erp.script([Step(reply=kind.throttled)])
    outcome = await once(kind, erp)
    assert isinstance(outcome, Throttled)
    assert outcome.after == 7.0


@by_kind
async def test_unavailable_when_it_says_so(kind: Kind, erp: PlainErp) -> None:
    erp.script([Step(reply=kind.unavailable)])
    outcome = await once(kind, erp)
    assert isinstance(outcome, Unavailable)
    assert outcome.after == 9.0


@by_kind
async def test_unavailable_when_it_refuses_and_back_when_it_listens(kind: Kind, erp: PlainErp) -> None:
    connector = registry.open_connector(kind.name, settings(erp.base_url))
    assert isinstance(await send(kind, connector), Delivered)
    await erp.down()
    down = await send(kind, connector)
    assert isinstance(down, Unavailable)
    assert down.code == "refused"
    await erp.up()
    assert isinstance(await send(kind, connector), Delivered)
    await connector.aclose()


@by_kind
async def test_unavailable_when_the_credentials_are_wrong(kind: Kind, erp: PlainErp) -> None:
    connector = registry.open_connector(kind.name, settings(erp.base_url, secret="wrong-horse-battery"))
    outcome = await send(kind, connector)
    await connector.aclose()
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"


@by_kind
@pytest.mark.parametrize("when", ["before", "after"])
async def test_uncertain_when_the_answer_is_cut_whatever_the_erp_did(
    kind: Kind, erp: PlainErp, when: Any
) -> None:
    erp.script([Step(cut=when)])
    outcome = await once(kind, erp)
    assert isinstance(outcome, Uncertain)
    assert outcome.answer is None
    assert len(erp.effects) == (when == "after")
    assert len(erp.calls) == 1


@by_kind
async def test_uncertain_when_the_answer_takes_too_long(kind: Kind, erp: PlainErp) -> None:
    answer = asyncio.Event()
    erp.script([Step(hold=answer)])
    outcome = await once(kind, erp, timeout_s=0.2)
    answer.set()
    assert isinstance(outcome, Uncertain)


@by_kind
async def test_a_slow_answer_within_the_timeout_is_an_answer(kind: Kind, erp: PlainErp) -> None:
    answer = asyncio.Event()
    erp.script([Step(hold=answer)])
    sending = asyncio.create_task(once(kind, erp))
    await erp.until(lambda: len(erp.calls) == 1)
    assert not sending.done()
    answer.set()
    assert isinstance(await sending, Delivered)


@by_kind
async def test_cancellation_passes_through_and_leaves_the_connection_usable(
    kind: Kind, erp: PlainErp
) -> None:
    connector = registry.open_connector(kind.name, settings(erp.base_url))
    never = asyncio.Event()
    erp.script([Step(hold=never)])
    sending = asyncio.create_task(send(kind, connector))
    await erp.until(lambda: len(erp.calls) == 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert isinstance(await send(kind, connector), Delivered)
    await connector.aclose()


@by_kind
async def test_a_large_answer_is_cut_and_said(kind: Kind, erp: PlainErp) -> None:
    erp.script([Step(reply=Reply(200, "x" * 3_000_000))])
    outcome = await once(kind, erp)
    assert isinstance(outcome, Delivered)
    assert outcome.answer is not None
    assert outcome.answer.truncated
    assert len(outcome.answer.body) == 1_048_576


@by_kind
async def test_no_secret_comes_out_even_when_the_erp_echoes_it(
    kind: Kind, erp: PlainErp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    connector = registry.open_connector(kind.name, settings(erp.base_url))
    erp.script([Step(reply=Reply(status, ECHO)) for status in (200, 400, 401, 429, 500, 502, 503)])
    seen = [repr(settings(erp.base_url)), repr(connector), repr(connector.prepare(kind.request, KEY))]
    seen += [str(connector.prepare(kind.request, KEY).to_json())]
    seen += [repr(await send(kind, connector)) for _ in range(7)]
    await erp.down()
    seen += [repr(await send(kind, connector)), caplog.text]
    await connector.aclose()
    assert [text for text in seen if SECRET in text] == []
    assert erp.calls[0].headers["authorization"] == f"Bearer {SECRET}"


def test_a_username_is_masked_where_it_is_a_secret() -> None:
    auth = {"type": "basic", "username": "api-key-4711", "password": "unused"}
    assert Redactor(auth)(b"no api-key-4711") == b"no api-key-4711"
    assert Redactor(auth, frozenset({"username"}))(b"no api-key-4711") == b"no ***"
