"""JWTs signed with a connection's private key: RFC 7523, as an authorization grant (2.1) and to authenticate (2.2).

NetSuite's machine-to-machine flow is the second: PS256 or ES256, `kid` the certificate's id, and the claim `scope`
(Oracle, "The Request Token Structure"). Entra ID wants the certificate's thumbprint as `x5t#S256`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.auth.members import seconds
from connectors.auth.passes import Moment
from connectors.protocol import SettingsInvalid

_LIFETIME = "5m"
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}  # RFC 7518, 3.4


@dataclass(frozen=True, slots=True)
class Signer:
    """key: a joserfc key. claims: those of the connection, over our own; null leaves one out."""

    key: Any = field(repr=False)
    header: Mapping[str, str]
    claims: Mapping[str, Any]
    lifetime_s: float

    def assertion(self, at: Moment) -> str:
        from joserfc import jwt  # noqa: PLC0415  who uses no such auth need not load it

        now = int(at.now)
        claims = {"iat": now, "exp": now + int(self.lifetime_s), "jti": at.chance, **self.claims}
        said = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(dict(self.header), said, self.key, algorithms=[self.header["alg"]])


def signer(auth: Mapping[str, Any]) -> Signer:
    """Of checked auth. Raises SettingsInvalid where private_key is no key of its algorithm."""
    own = auth["assertion"]
    client = auth.get("client_id")
    header = {"typ": "JWT", "alg": own.get("algorithm", "RS256")}
    header |= {"kid": own["key_id"]} if "key_id" in own else {}
    header |= {"x5t#S256": own["thumbprint"]} if "thumbprint" in own else {}
    issuer = own.get("issuer", client)
    claims = {
        "iss": issuer,
        "sub": own.get("subject", client or issuer),
        "aud": own.get("audience", auth["token_url"]),
        **own.get("claims", {}),
    }
    return Signer(
        _key(own["private_key"], header["alg"]), header, claims, seconds(own.get("lifetime", _LIFETIME))
    )


def _key(pem: str, algorithm: str) -> Any:
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import ECKey, RSAKey  # noqa: PLC0415

    kind = ECKey if algorithm in _CURVES else RSAKey
    where = "auth.assertion.private_key"
    try:
        key: ECKey | RSAKey = kind.import_key(pem.strip().replace("\\n", "\n"))
    except (ValueError, TypeError, JoseError):  # what they say may quote the key
        raise SettingsInvalid(
            where,
            f"is no private key of {algorithm} in PEM without a password; set it again from its file: "
            "`bridge secret set … < key.pem`",
        ) from None
    if not key.is_private:
        raise SettingsInvalid(where, "is a public key; the private one signs")
    if isinstance(key, ECKey) and key.curve_name != _CURVES[algorithm]:
        raise SettingsInvalid(
            where, f"is on the curve {key.curve_name}, and {algorithm} wants {_CURVES[algorithm]}"
        )
    return key
