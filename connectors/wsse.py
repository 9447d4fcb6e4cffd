"""WS-Security of a connection: the header `Security` with a username token or a signature, made for each message. The kinds of `auth` that ask for it: `connectors.auth.kinds`.

OASIS WSS 1.1.1: SOAP Message Security, UsernameToken Profile, X.509 Certificate Token Profile. Pure: time and nonce are given.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.protocol import SettingsInvalid

_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_WSSE = f"{_OASIS}-wssecurity-secext-1.0.xsd"
_WSU = f"{_OASIS}-wssecurity-utility-1.0.xsd"
_USERNAME = f"{_OASIS}-username-token-profile-1.0"
_X509 = f"{_OASIS}-x509-token-profile-1.0#X509v3"
_BASE64 = f"{_OASIS}-soap-message-security-1.0#Base64Binary"
_VALID = timedelta(minutes=5)

Secure = Callable[[Any, datetime, bytes], None]
"""envelope, now (aware), 16 random bytes: puts the header `Security` in."""


def open_wsse(auth: Mapping[str, Any]) -> Secure | None:
    """None: the connection has no WS-Security. Raises SettingsInvalid where certificate or key cannot be read."""
    match auth.get("type"):
        case "wsse_username":
            return _UsernameToken(
                auth["username"], auth["password"], bool(auth.get("digest")), bool(auth.get("timestamp"))
            )
        case "wsse_signature":
            return _opened_signature(auth)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _UsernameToken:
    username: str
    password: str = field(repr=False)
    digest: bool
    timestamp: bool

    def __call__(self, envelope: Any, now: datetime, nonce: bytes) -> None:
        security = _security(envelope)
        if self.timestamp:
            _add_timestamp(security, now)
        token = _add(security, _WSSE, "UsernameToken")
        _add(token, _WSSE, "Username", self.username)
        created = _instant(now)
        password = _add(token, _WSSE, "Password", self.password)
        password.set("Type", f"{_USERNAME}#PasswordText")
        if self.digest:
            # UsernameToken Profile 3.1: Base64(SHA-1(nonce + created + password)); SHA-1 is the profile's own
            hashed = hashlib.sha1(nonce + created.encode() + self.password.encode(), usedforsecurity=False)
            password.text = base64.b64encode(hashed.digest()).decode()
            password.set("Type", f"{_USERNAME}#PasswordDigest")
        _add(token, _WSSE, "Nonce", base64.b64encode(nonce).decode()).set("EncodingType", _BASE64)
        _add(token, _WSU, "Created", created)


@dataclass(frozen=True, slots=True)
class _Signature:
    """Signs Body and Timestamp, RSA or EC with SHA-256, by exclusive canonicalization; the certificate goes along."""

    certificate: bytes
    signer: Any
    key: Any = field(repr=False)

    def __call__(self, envelope: Any, now: datetime, nonce: bytes) -> None:
        label = nonce.hex()
        body = envelope[-1]
        body.set(f"{{{_WSU}}}Id", f"body-{label}")
        security = _security(envelope)
        token = _add(security, _WSSE, "BinarySecurityToken", base64.b64encode(self.certificate).decode())
        token.set(f"{{{_WSU}}}Id", f"token-{label}")
        token.set("EncodingType", _BASE64)
        token.set("ValueType", _X509)
        _add_timestamp(security, now).set(f"{{{_WSU}}}Id", f"time-{label}")
        reference = _add(_add(_element(_DS, "KeyInfo"), _WSSE, "SecurityTokenReference"), _WSSE, "Reference")
        reference.set("URI", f"#token-{label}")
        reference.set("ValueType", _X509)
        key_info = reference.getparent().getparent()
        security.append(
            self.signer.sign(
                envelope,
                key=self.key,
                reference_uri=[f"#body-{label}", f"#time-{label}"],
                key_info=key_info,
                always_add_key_value=False,
            )
        )


_DS = "http://www.w3.org/2000/09/xmldsig#"


def _opened_signature(auth: Mapping[str, Any]) -> Secure:
    # only who signs needs them
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key  # noqa: PLC0415
    from signxml import XMLSigner  # noqa: PLC0415
    from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificate(auth["certificate"].encode())
    except ValueError:
        raise SettingsInvalid("auth.certificate", "is no X.509 certificate in PEM") from None
    password = auth.get("key_password")
    try:
        key = load_pem_private_key(auth["key"].encode(), password.encode() if password else None)
    except (ValueError, TypeError):
        raise SettingsInvalid(
            "auth.key", "is no private key in PEM, or key_password does not open it"
        ) from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise SettingsInvalid("auth.key", "must be an RSA or EC key")
    if key.public_key() != certificate.public_key():
        raise SettingsInvalid("auth.key", "is not the certificate's")
    signer = XMLSigner(
        method=SignatureConstructionMethod.detached,
        signature_algorithm="rsa-sha256" if isinstance(key, RSAPrivateKey) else "ecdsa-sha256",
        digest_algorithm="sha256",
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    return _Signature(certificate.public_bytes(Encoding.DER), signer, key)


def _security(envelope: Any) -> Any:
    namespace = envelope.tag[1:].partition("}")[0]
    header = envelope.find(f"{{{namespace}}}Header")
    if header is None:
        header = _element(namespace, "Header")
        envelope.insert(0, header)
    security = _element(_WSSE, "Security")
    security.set(f"{{{namespace}}}mustUnderstand", "1")
    header.insert(0, security)
    return security


def _add_timestamp(security: Any, now: datetime) -> Any:
    stamp = _add(security, _WSU, "Timestamp")
    _add(stamp, _WSU, "Created", _instant(now))
    _add(stamp, _WSU, "Expires", _instant(now + _VALID))
    return stamp


def _add(parent: Any, namespace: str, name: str, text: str | None = None) -> Any:
    node = _element(namespace, name)
    node.text = text
    parent.append(node)
    return node


def _element(namespace: str, name: str) -> Any:
    from lxml import etree  # noqa: PLC0415 — who only reads a tenants folder writes no XML

    prefixes = {_WSSE: "wsse", _WSU: "wsu", _DS: "ds"}
    return etree.Element(f"{{{namespace}}}{name}", nsmap={prefixes.get(namespace, "soap"): namespace})


def _instant(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}Z"
