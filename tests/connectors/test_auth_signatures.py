"""What is signed: OAuth 1.0a requests and JWTs, against published examples and as authlib's and joserfc's servers see them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any

import pytest
from authlib.oauth1.rfc5849.signature import verify_hmac_sha1
from authlib.oauth1.rfc5849.wrapper import OAuth1Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from bridge.demo.erp_server import Call, Reply
from connectors import registry
from connectors.auth.oauth1 import Signature, form_of
from connectors.auth.passes import Moment
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered, Outcome, SettingsInvalid, Unavailable
from tests.connectors.certificates import pem_key, public_pem
from tests.connectors.issuing import IssuingErp

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
OAUTH1 = {
    "type": "oauth1",
    "consumer_key": "9djdj82h48djs9d2",
    "consumer_secret": "j49sk3j29djd&+/=%2B",
    "token": "kkk9d7+dh3k/39sjv7=",
    "token_secret": "dh893hdasih9",
}


PHOTOS = {
    "consumer_key": "dpf43f3p2l4k3l03",
    "consumer_secret": "kd94hf93k423kf44",
    "token": "nnch734d00sl2jdk",
    "token_secret": "pfkkdhi9sl3r4s00",
    "realm": "Photos",
}
"""RFC 5849, 1.2. It sends no oauth_version, which is optional."""


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("HMAC-SHA1", "MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"),
        # not in the RFC: `openssl dgst -sha256 -hmac` over the same base string with this method's name in it
        ("HMAC-SHA256", "HtMwoX2zenlFjgGg%2FSNEoKEQmL7CzxYFEKzs7er044Y%3D"),
    ],
)
def test_the_signature_is_the_one_of_rfc_5849(method: str, signature: str) -> None:
    url = "http://photos.example.net/photos?file=vacation.jpg&size=original"
    signing = Signature({**PHOTOS, "signature_method": method}, version="")
    assert signing.header("GET", url, b"", Moment(137131202, "chapoH")) == (
        'OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="nnch734d00sl2jdk", '
        f'oauth_signature_method="{method}", oauth_timestamp="137131202", oauth_nonce="chapoH", '
        f'oauth_signature="{signature}"'
    )


def test_only_a_form_is_signed_with_the_request() -> None:
    assert form_of("application/x-www-form-urlencoded; charset=utf-8", b"a=1") == b"a=1"
    assert form_of("application/json", b"{}") == b""


class Known:
    """A client and its token, as authlib asks for them."""

    def get_client_secret(self) -> str:
        return OAUTH1["consumer_secret"]

    def get_oauth_token_secret(self) -> str:
        return OAUTH1["token_secret"]


class SigningErp(IssuingErp):
    """Takes requests that are signed as authlib checks it; SHA-256 by its own base string."""

    def handle(self, call: Call) -> Reply:
        request = OAuth1Request(
            call.method,
            f"{self.base_url}{call.path}?{call.query}".rstrip("?"),
            call.body if isinstance(call.body, str) else None,
            {"Authorization": call.headers["authorization"]},
        )
        request.client, request.credential = Known(), Known()
        assert request.timestamp
        if not verify_hmac_sha1(request):
            return Reply(401, {"error": "signature_invalid", "sent": call.headers["authorization"]})
        return Reply(201, {"nonce": request.oauth_params["oauth_nonce"]})


async def sent(base_url: str, auth: Mapping[str, Any], **request: Any) -> Outcome:
    connector = registry.open_connector("rest", ConnectionSettings(base_url, auth, egress=LOOPBACK))
    try:
        whole = {"method": "POST", "path": "/api/orders", **request}
        return await connector.send(connector.prepare(whole, "k"))
    finally:
        await connector.aclose()


@pytest.mark.parametrize(
    "request_",
    [
        {"body": {"n": 1}},
        {"form": {"a b": "ü&=+", "": "x", "c": ["2", "1"]}},
        {"path": "/api/39%2F7/ñ", "query": {"filter": "a b+c=ü", "e": "", "a3": ["2 q", "a"]}},
    ],
)
async def test_authlib_knows_the_signature(request_: dict[str, Any]) -> None:
    async with SigningErp() as erp:
        auth = {**OAUTH1, "signature_method": "HMAC-SHA1", "realm": "1234567_SB1"}
        assert isinstance(await sent(erp.base_url, auth, **request_), Delivered)
        wrong = await sent(erp.base_url, {**auth, "token_secret": "another-secret"}, **request_)
    assert isinstance(wrong, Unavailable)
    assert wrong.code == "authentication"


async def test_each_request_has_a_nonce_of_its_own() -> None:
    async with SigningErp() as erp:
        auth = {**OAUTH1, "signature_method": "HMAC-SHA1"}
        await asyncio.gather(*(sent(erp.base_url, auth, body={}) for _ in range(4)))
    headers = {call.headers["authorization"].partition("oauth_nonce=")[2][:30] for call in erp.calls}
    assert len(headers) == 4


ALGORITHMS = ["RS256", "PS256", "ES256", "PS512"]


class AssertingErp(IssuingErp):
    """Knows a client by its key."""

    def __init__(self, algorithm: str) -> None:
        super().__init__()
        kind: Any = ECKey if algorithm.startswith("ES") else RSAKey
        self._key = kind.import_key(public_pem(private_key(algorithm)))
        self._algorithm = algorithm
        self.tokens_read: list[jwt.Token] = []

    def _assertion_problem(self, form: Mapping[str, str]) -> str | None:
        try:
            read = jwt.decode(
                form.get("client_assertion") or form["assertion"], self._key, algorithms=[self._algorithm]
            )
            jwt.JWTClaimsRegistry(
                aud={"essential": True, "value": f"{self.base_url}/oauth/token"}, exp={"essential": True}
            ).validate(read.claims)
        except JoseError:
            return "invalid_grant"
        self.tokens_read.append(read)
        return None


def private_key(algorithm: str) -> str:
    return pem_key("EC" if algorithm.startswith("ES") else "RSA")


@pytest.fixture(params=ALGORITHMS)
async def asserting(request: pytest.FixtureRequest) -> AsyncIterator[AssertingErp]:
    async with AssertingErp(request.param) as erp:
        yield erp


def assertion(erp: AssertingErp, **members: Any) -> dict[str, Any]:
    return {"private_key": private_key(erp._algorithm), "algorithm": erp._algorithm, **members}


async def test_a_signed_client_is_known(asserting: AssertingErp) -> None:
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{asserting.base_url}/oauth/token",
        "client_id": "client-4711",
        "assertion": assertion(
            asserting, key_id="certificate-1", claims={"scope": ["rest_webservices"], "jti": None}
        ),
    }
    assert isinstance(await sent(asserting.base_url, auth, body={}), Delivered)
    (read,) = asserting.tokens_read
    assert read.header == {"typ": "JWT", "alg": asserting._algorithm, "kid": "certificate-1"}
    assert read.claims["exp"] - read.claims["iat"] == 300
    about = {name: value for name, value in read.claims.items() if name not in ("exp", "iat", "aud")}
    assert about == {"iss": "client-4711", "sub": "client-4711", "scope": ["rest_webservices"]}
    assert sorted(asserting.asked[0]) == [
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "grant_type",
    ]


async def test_a_signed_grant_is_taken(asserting: AssertingErp) -> None:
    auth = {
        "type": "oauth2_jwt_bearer",
        "token_url": f"{asserting.base_url}/oauth/token",
        "scope": "documents",
        "assertion": assertion(asserting, issuer="bridge", subject="integration@acme.example", lifetime="2m"),
    }
    assert isinstance(await sent(asserting.base_url, auth, body={}), Delivered)
    assert asserting.asked[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    (read,) = asserting.tokens_read
    assert (read.claims["iss"], read.claims["sub"]) == ("bridge", "integration@acme.example")
    assert read.claims["jti"]


async def test_an_assertion_that_is_echoed_is_masked() -> None:
    async with AssertingErp("ES256") as erp:
        auth = {
            "type": "oauth2_jwt_bearer",
            "token_url": f"{erp.base_url}/oauth/token",
            "assertion": assertion(erp, issuer="bridge", audience="https://elsewhere.example"),
        }
        outcome = await sent(erp.base_url, auth, body={})
    assert isinstance(outcome, Unavailable)
    assert outcome.code == "authentication"
    assert "&assertion=***" in outcome.message
    assert erp.asked[0]["assertion"] not in repr(outcome)


@pytest.mark.parametrize(
    ("algorithm", "pem"),
    [
        ("RS256", "no key at all"),
        ("RS256", pem_key("EC")),
        ("ES256", pem_key("RSA")),
        ("RS256", public_pem(pem_key("RSA"))),
        ("ES384", pem_key("EC")),
    ],
    ids=["no key", "EC for RSA", "RSA for EC", "public", "another curve"],
)
def test_what_is_no_key_is_said_when_the_connection_opens(algorithm: str, pem: str) -> None:
    auth = {
        "type": "oauth2_jwt_bearer",
        "token_url": "https://erp.example/token",
        "assertion": {"private_key": pem, "algorithm": algorithm, "issuer": "bridge"},
    }
    with pytest.raises(SettingsInvalid) as refused:
        registry.open_connector("rest", ConnectionSettings("https://erp.example", auth))
    assert refused.value.key == "auth.assertion.private_key"
    assert pem.splitlines()[-1] not in str(refused.value)
