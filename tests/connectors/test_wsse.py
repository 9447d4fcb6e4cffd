"""WS-Security as it goes out: tokens by the profile's own arithmetic, signatures that verify."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import InvalidDigest
from signxml.verifier import SignatureConfiguration, XMLVerifier

from connectors.protocol import SettingsInvalid
from connectors.wsse import open_wsse

NOW = datetime(2026, 11, 24, 3, 28, 19, 832462, tzinfo=UTC)
NONCE = bytes(range(16))
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
NAMES = {
    "s": SOAP,
    "wsse": f"{WSS}-wssecurity-secext-1.0.xsd",
    "wsu": f"{WSS}-wssecurity-utility-1.0.xsd",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
RSA = rsa.generate_private_key(65537, 2048)


def envelope() -> Any:
    return etree.fromstring(
        f'<s:Envelope xmlns:s="{SOAP}"><s:Body><d:Do xmlns:d="urn:d"><a>1 &lt; 2</a></d:Do></s:Body></s:Envelope>'
    )


def secured(auth: dict[str, Any]) -> Any:
    secure = open_wsse(auth)
    assert secure is not None
    found = envelope()
    secure(found, NOW, NONCE)
    return etree.fromstring(etree.tostring(found))


def text(found: Any, path: str) -> str:
    return str(found.findtext(f"s:Header/wsse:Security/{path}", namespaces=NAMES))


def test_a_token_with_the_password_as_text() -> None:
    found = secured({"type": "wsse_username", "username": "u & u", "password": "p<p"})
    assert text(found, "wsse:UsernameToken/wsse:Username") == "u & u"
    assert text(found, "wsse:UsernameToken/wsse:Password") == "p<p"
    assert found[0][0].get(f"{{{SOAP}}}mustUnderstand") == "1"
    assert found[1].tag == f"{{{SOAP}}}Body"
    assert found.find(".//wsu:Timestamp", NAMES) is None


def test_a_token_with_a_digest() -> None:
    found = secured({"type": "wsse_username", "username": "u", "password": "pass", "digest": True})
    nonce = text(found, "wsse:UsernameToken/wsse:Nonce")
    created = text(found, "wsse:UsernameToken/wsu:Created")
    assert created == "2026-11-24T03:28:19.832Z"
    # UsernameToken Profile 1.1.1, 3.1
    expected = hashlib.sha1(base64.b64decode(nonce) + created.encode() + b"pass").digest()
    assert text(found, "wsse:UsernameToken/wsse:Password") == base64.b64encode(expected).decode()
    assert "pass" not in etree.tostring(found).decode().replace("Password", "")


def test_a_token_with_a_timestamp() -> None:
    found = secured({"type": "wsse_username", "username": "u", "password": "p", "timestamp": True})
    assert text(found, "wsu:Timestamp/wsu:Expires") == "2026-11-24T03:33:19.832Z"


def certificate(key: Any) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def pem(key: Any, password: str = "") -> str:
    secret = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret).decode())


def covered(found: Any, pair: str) -> list[str]:
    """The names of the elements that the signature covers. Raises where it does not verify."""
    config = SignatureConfiguration(location=".//", expect_references=2)
    results = XMLVerifier().verify(found, x509_cert=pair, id_attribute="Id", expect_config=config)
    return [etree.QName(each.signed_xml).localname for each in results]


@pytest.mark.parametrize("key", [RSA, ec.generate_private_key(ec.SECP256R1())], ids=["rsa", "ec"])
def test_a_signature_covers_body_and_timestamp(key: Any) -> None:
    pair = certificate(key)
    found = secured({"type": "wsse_signature", "certificate": pair, "key": pem(key)})
    assert covered(found, pair) == ["Body", "Timestamp"]
    token = text(found, "wsse:BinarySecurityToken")
    assert x509.load_der_x509_certificate(base64.b64decode(token)).serial_number == 7
    reference = found.find(".//wsse:SecurityTokenReference/wsse:Reference", NAMES)
    assert found.find(f".//*[@wsu:Id='{reference.get('URI')[1:]}']", NAMES).text == token


def test_what_is_changed_on_the_way_does_notcovered() -> None:
    pair = certificate(RSA)
    found = secured({"type": "wsse_signature", "certificate": pair, "key": pem(RSA)})
    found.find(".//a").text = "2"
    with pytest.raises(InvalidDigest):
        covered(found, pair)


def test_a_key_with_a_password() -> None:
    pair = certificate(RSA)
    auth = {"type": "wsse_signature", "certificate": pair, "key": pem(RSA, "open")}
    assert open_wsse({**auth, "key_password": "open"}) is not None
    with pytest.raises(SettingsInvalid, match=r"auth\.key: is no private key in PEM, or key_password"):
        open_wsse(auth)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"certificate": "x"}, "auth.certificate: is no X.509 certificate in PEM"),
        ({"key": "x"}, "auth.key: is no private key in PEM"),
        ({"key": pem(ec.generate_private_key(ec.SECP256R1()))}, "auth.key: is not the certificate's"),
        ({"key": pem(ed25519.Ed25519PrivateKey.generate())}, "auth.key: must be an RSA or EC key"),
    ],
)
def test_a_pair_that_cannot_sign_is_refused_without_its_words(members: dict[str, str], says: str) -> None:
    auth = {"type": "wsse_signature", "certificate": certificate(RSA), "key": pem(RSA)}
    with pytest.raises(SettingsInvalid) as caught:
        open_wsse({**auth, **members})
    assert says in str(caught.value)
