"""What of a connection's `auth` and `tls` may be written in tenant.yaml, and what is said of what may not."""

from textwrap import indent
from typing import Any

import pytest

from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.model import Connection, Tenant, secrets_of
from pipeline.yaml_tree import load

LOGIN = """
auth:
  type: session
  path: /b1s/v1/Login
  body: {CompanyDB: SBODEMO, UserName: manager, Language: 25, Password: "${secret:b1}", deep: {pin: ["${secret:pin}"]}}
  headers: {Partner-Id: Bridge, X-Key: "${secret:key}"}
tls: {certificate: CERTIFICATE, key: "${secret:tls_key}"}
"""


def read(text: str) -> Connection:
    whole = f"erp:\n  connector: rest\n  base_url: https://erp.example\n{indent(text, '  ')}"
    return read_connections("acme", load(whole, "tenant.yaml"))["erp"]


def problem(text: str) -> str:
    with pytest.raises(ConfigurationInvalid) as refused:
        read(text)
    return str(refused.value)


def test_secrets_are_found_however_deep() -> None:
    connection = read(LOGIN)
    tenant = Tenant("acme", "4711", connections={"erp": connection})
    assert secrets_of(tenant) == ["b1", "key", "pin", "tls_key"]


OAUTH: dict[str, Any] = {
    "type": "oauth2_client_credentials",
    "token_url": "https://login.example/token",
    "client_id": "bridge",
    "client_secret": '"${secret:s}"',
}


def auth(**members: str) -> str:
    return "auth: {" + ", ".join(f"{name}: {value}" for name, value in members.items()) + "}"


MISTAKES = {
    "literal in a body": (
        LOGIN.replace('"${secret:b1}"', "geheim"),
        (
            "8:65: erp.auth.body.Password: a Password is not written here; run `bridge secret set acme NAME` and write "
            'Password: "${secret:NAME}"'
        ),
    ),
    "literal deep in a body": (LOGIN.replace('["${secret:pin}"]', "[4711]"), "erp.auth.body.deep.pin: a pin is not"),
    "literal header": (LOGIN.replace('"${secret:key}"', "geheim"), "erp.auth.headers.X-Key: a X-Key is not written"),
    "half a reference": (LOGIN.replace("manager", '"x${secret:u}"'), "erp.auth.body.UserName: a UserName is not"),
    "literal key of a certificate": (
        LOGIN.replace('"${secret:tls_key}"', "geheim"),
        'erp.tls.key: a key is not written here; run `bridge secret set acme NAME` and write key: "${secret:NAME}"',
    ),
    "certificate without key": ("tls: {certificate: X}", "erp.tls.key: stands with tls.certificate: write both"),
    "unknown member of tls": ("tls: {cert: '${secret:x}'}", "erp.tls.cert: tls takes only certificate, key, password, ca"),
    "literal client_secret": (
        auth(**{**OAUTH, "client_secret": "geheim"}),
        "erp.auth.client_secret: a client_secret is not written here",
    ),
    "literal parameter": (auth(**OAUTH, params="{otp: 4711}"), "list it in auth.open: `open: [otp]`"),
    "unknown member": (
        auth(**OAUTH, scpoe='"${secret:s}"'),
        "erp.auth.scpoe: oauth2_client_credentials auth takes only token_url, client_id",
    ),
    "misspelt kind": (
        auth(type="api_kee", header="X-Api-Key", key='"${secret:k}"'),
        "erp.auth.type: 'api_kee' is none of basic, bearer, api_key",
    ),
    "misspelt kind, and what it may be": (auth(type="api_kee", header="X-Api-Key"), "; did you mean 'api_key'?"),
    "misspelt member": (
        auth(type="api_key", heeder="X-Api-Key", key='"${secret:k}"'),
        "erp.auth.heeder: is nothing that api_key auth takes; did you mean 'header'?",
    ),
    "literal in a misspelt kind is not shown": (auth(type="barer", token="geheim"), "did you mean 'bearer'?"),
    "missing": (auth(type="oauth2_client_credentials", token_url="https://x.example/t"), "erp.auth.client_id: is missing: write `client_id: …`"),
    "missing secret": (
        auth(**{name: value for name, value in OAUTH.items() if name != "client_secret"}),
        'erp.auth.client_secret: is missing: write `client_secret: "${secret:NAME}"`, and run `bridge secret set`',
    ),
    "token_url": (auth(**{**OAUTH, "token_url": "ftp://login.example"}), "erp.auth.token_url: must be https://HOST"),
    "password in token_url": (
        auth(**{**OAUTH, "token_url": "https://u:geheim@login.example"}),
        "erp.auth.token_url: must hold no credentials; write them under auth",
    ),
    "private key": (
        auth(type="oauth2_jwt_bearer", token_url="https://x.example/t", assertion="{issuer: me, private_key: PEM}"),
        "erp.auth.assertion.private_key: a private_key is not written here",
    ),
    "algorithm": (
        auth(
            type="oauth2_jwt_bearer",
            token_url="https://x.example/t",
            assertion='{issuer: me, private_key: "${secret:k}", algorithm: HS256}',
        ),
        "erp.auth.assertion.algorithm: must be one of RS256, PS256, ES256",
    ),
    "header or query": (auth(type="api_key", key='"${secret:k}"'), "erp.auth.header: write either header or query"),
    "header of HTTP itself": (
        auth(type="api_key", key='"${secret:k}"', header="Host"),
        "erp.auth.header: Host is set by HTTP itself; name another header",
    ),
    "status that may have been processed": (
        auth(type="session", path="/login", ended="[401, 500]"),
        "erp.auth.ended: must be a list of HTTP statuses from 300 to 499",
    ),
    "opened password": (
        LOGIN.replace("path:", "open: [Password]\n  path:").replace('"${secret:b1}"', "geheim"),
        "erp.auth.body.Password: a Password is not written here",
    ),
    "half of a token": (
        auth(type="oauth1", consumer_key="k", consumer_secret='"${secret:s}"', token='"${secret:t}"'),
        "erp.auth.token_secret: stands with auth.token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_write(name: str) -> None:
    text, said = MISTAKES[name]
    found = problem(text)
    assert said in found
    assert "geheim" not in found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("dialect: tryton\n  database: acme", "erp.auth.password: a password is not written here"),
        (
            "dialect: odoo\n  database: acme",
            "erp.auth.type: login is for the dialects odoo_legacy, tryton alone",
        ),
    ],
)
def test_whether_a_kind_of_auth_is_known_depends_on_the_connections_options(options: str, said: str) -> None:
    login = auth(type="login", username="bridge", password="geheim")
    text = f"erp:\n  connector: jsonrpc\n  base_url: https://erp.example\n  {options}\n  {login}"
    with pytest.raises(ConfigurationInvalid) as refused:
        read_connections("acme", load(text, "tenant.yaml"))
    assert said in str(refused.value)
    assert "geheim" not in str(refused.value)
