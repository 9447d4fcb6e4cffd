"""Mutual TLS: a connection's own certificate and authority, against a real TLS server that asks for them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered, Outcome, SettingsInvalid, Unavailable
from connectors.tls import check_tls
from tests.connectors.certificates import AUTHORITY, CLIENT, SERVER
from tests.connectors.issuing import CLIENT as CLIENT_ID
from tests.connectors.issuing import CLIENT_SECRET, IssuingErp

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
OURS = {"certificate": CLIENT.certificate, "key": CLIENT.key, "ca": AUTHORITY.certificate}


class TlsErp(IssuingErp):
    """Speaks TLS alone, and with those alone whom the authority vouches for."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context

    @property
    def base_url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def up(self) -> None:
        self._server = web.Server(self._serve, access_log=None)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, "127.0.0.1", 0, ssl=self._context)
        self.port = self._listener.sockets[0].getsockname()[1]


@pytest.fixture
async def erp(tmp_path: Path) -> AsyncIterator[TlsErp]:
    pair = tmp_path / "server.pem"
    pair.write_text(SERVER.key + SERVER.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=AUTHORITY.certificate)
    context.load_cert_chain(pair)
    context.verify_mode = ssl.CERT_REQUIRED
    async with TlsErp(context) as erp:
        yield erp


async def send(erp: TlsErp, tls: Mapping[str, Any]) -> Outcome:
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{erp.base_url}/oauth/token",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    settings = ConnectionSettings(erp.base_url, auth, timeout_s=5.0, egress=LOOPBACK, tls=tls)
    connector = registry.open_connector("rest", settings)
    try:
        request = {"method": "POST", "path": "/api/orders", "body": {}}
        return await connector.send(connector.prepare(request, "k"))
    finally:
        await connector.aclose()


async def test_the_erp_and_the_token_endpoint_see_the_certificate(erp: TlsErp) -> None:
    assert isinstance(await send(erp, OURS), Delivered)


async def test_a_key_may_have_a_password(erp: TlsErp) -> None:
    locked = load_pem_private_key(CLIENT.key.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"4711")
    )
    tls = {**OURS, "key": locked.decode()}
    assert isinstance(await send(erp, {**tls, "password": "4711"}), Delivered)
    with pytest.raises(SettingsInvalid, match=r"tls\.key"):
        await send(erp, tls)


async def test_without_the_authority_nothing_is_sent(erp: TlsErp) -> None:
    outcome = await send(erp, {name: OURS[name] for name in ("certificate", "key")})
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "tls"
    assert erp.calls == []


async def test_without_a_certificate_nothing_is_processed(erp: TlsErp) -> None:
    assert isinstance(await send(erp, {"ca": AUTHORITY.certificate}), Unavailable)
    assert erp.calls == []


@pytest.mark.parametrize(
    ("tls", "key"),
    [
        ({**OURS, "key": SERVER.key}, "tls.key"),
        ({**OURS, "key": "nonsense"}, "tls.key"),
        ({**OURS, "certificate": "nonsense"}, "tls.key"),
        ({**OURS, "ca": "nonsense"}, "tls.ca"),
    ],
)
async def test_what_is_no_pair_is_said_when_the_connection_opens(
    erp: TlsErp, tls: Mapping[str, Any], key: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        await send(erp, tls)
    assert refused.value.key == key


def test_a_certificate_needs_https() -> None:
    with pytest.raises(SettingsInvalid, match=r"tls: base_url is not https://"):
        check_tls(OURS, "http://erp.example")
