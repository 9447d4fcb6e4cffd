"""Where a tenant's endpoint may be. Names are resolved by a resolver of the test; sockets are real."""

import socket
from collections.abc import Iterable
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge.demo.erp_plain import PlainErp
from connectors import registry
from connectors.egress import EgressPolicy, EgressRefused
from connectors.egress_guard import GuardedResolver
from connectors.protocol import ConnectionSettings, Delivered, Outcome, SettingsInvalid, Unavailable

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"), ip_network("::1/128")))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.8.8.8",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "localhost",
        "2130706433",
        "0177.0.0.1",
        "",
    ],
)
def test_no_address_of_the_operator_s_own_networks(address: str) -> None:
    with pytest.raises(EgressRefused):
        EgressPolicy().check(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_public_addresses_pass(address: str) -> None:
    EgressPolicy().check(address)


def test_the_operator_s_word_lets_a_network_in_and_nothing_beside_it() -> None:
    policy = EgressPolicy((ip_network("10.20.0.0/16"),))
    policy.check("10.20.3.4")
    policy.check("::ffff:10.20.3.4")
    with pytest.raises(EgressRefused):
        policy.check("10.21.0.1")


async def send(base_url: str, policy: EgressPolicy = EgressPolicy()) -> Outcome:  # noqa: B008  frozen
    connector = registry.open_connector("rest", ConnectionSettings(base_url, timeout_s=5.0, egress=policy))
    try:
        return await connector.send(
            connector.prepare({"method": "POST", "path": "/api/things", "body": {}}, "k")
        )
    finally:
        await connector.aclose()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.⓪.⓪.①"]
)
async def test_this_machine_is_not_connected_to(host: str) -> None:
    async with PlainErp() as erp:
        outcome = await send(f"http://{host}:{erp.port}")
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "egress"
        assert erp.calls == []


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0X7F.1", "0177.0.0.1", "017700000001", "127.1", "127.0.0.1.", "0", "0x",
        "256.256.256.256", "127.0.0.0x1", "erp.example.1",
    ],
)  # fmt: skip
async def test_odd_spellings_of_an_address_are_no_host(host: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"plain IPv4|no URL"):
        await send(f"http://{host}/")


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://erp..example", "part of it is empty"),
        (f"http://{'a' * 64}.example", "too long"),
        ("http://erp.example\t/x", "no blank"),
        (" http://erp.example", "no blank"),
    ],
)
async def test_what_no_resolver_takes_is_found_before_any_delivery(base_url: str, says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says):
        await send(base_url)


async def test_a_refusal_says_who_may_allow_it() -> None:
    outcome = await send("http://127.0.0.1:9")
    assert "egress.allow" in outcome.message


class Names(AbstractResolver):
    """Answers each question with the next addresses."""

    def __init__(self, answers: Iterable[tuple[str, ...]]) -> None:
        self._answers = iter(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
            for one in next(self._answers)
        ]

    async def close(self) -> None:
        pass


async def test_a_name_with_one_inner_address_is_refused_whole() -> None:
    guarded = GuardedResolver(EgressPolicy(), Names([("8.8.8.8", "10.0.0.1")]))
    with pytest.raises(EgressRefused):
        await guarded.resolve("erp.example")


async def test_of_such_a_name_not_even_the_allowed_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names([("127.0.0.1", "127.0.0.2")])
    monkeypatch.setattr(aiohttp, "ThreadedResolver", lambda: names)
    async with PlainErp() as erp:
        outcome = await send(f"http://erp.example:{erp.port}", EgressPolicy((ip_network("127.0.0.1/32"),)))
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "egress"
    assert erp.calls == []


async def test_a_name_that_changes_its_mind_is_refused_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first answer was harmless, the second leads inside."""
    names = Names([("127.0.0.2",), ("127.0.0.1",)])
    monkeypatch.setattr(aiohttp, "ThreadedResolver", lambda: names)
    policy = EgressPolicy((ip_network("127.0.0.2/32"),))
    async with PlainErp() as erp:
        first = await send(f"http://erp.example:{erp.port}", policy)
        second = await send(f"http://erp.example:{erp.port}", policy)
    assert isinstance(first, Unavailable)
    assert first.code == "refused"  # allowed, tried, nobody there
    assert isinstance(second, Unavailable)
    assert second.code == "egress"
    assert erp.calls == []


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with PlainErp(token="t" * 8) as erp:
        settings = ConnectionSettings(erp.base_url, {"type": "bearer", "token": "t" * 8}, egress=LOOPBACK)
        connector = registry.open_connector("rest", settings)
        prepared = connector.prepare({"method": "POST", "path": "/api/things", "body": {}}, "k")
        assert isinstance(await connector.send(prepared), Delivered)
        await connector.aclose()
