"""OAuth 1.0a (RFC 5849): a signature over each request, such as NetSuite's token-based authentication. Pure.

HMAC-SHA256 is not in the RFC: it is HMAC-SHA1 with the other hash, as NetSuite has it.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from connectors.auth.passes import Moment

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Signature:
    """auth: checked, of the type oauth1. version: "" leaves it out, which is allowed, and what few servers see."""

    auth: Mapping[str, Any] = field(repr=False)
    version: str = "1.0"

    def header(self, method: str, url: str, form: bytes, at: Moment) -> str:
        """The Authorization header. url: whole, as sent; form: the body where it is a form, else b""."""
        from authlib.oauth1.rfc5849.parameters import prepare_headers  # noqa: PLC0415  who uses no such auth
        from authlib.oauth1.rfc5849.signature import construct_base_string  # noqa: PLC0415  need not load it

        oauth = self._parameters(at)
        sent = [*_pairs(urlsplit(url).query), *_pairs(form.decode("ascii", "replace"))]
        # authlib decodes what begins with `oauth_`, since it takes it from a header; ours are plain
        encoded = [(name, quote(value, safe="~")) for name, value in oauth]
        base = construct_base_string(method, url, [*sent, *encoded])
        signed = [*oauth, ("oauth_signature", self._sign(base))]
        header: str = prepare_headers(signed, {}, realm=self.auth.get("realm"))["Authorization"]
        return header

    def _parameters(self, at: Moment) -> list[tuple[str, str]]:
        token = [("oauth_token", self.auth["token"])] if "token" in self.auth else []
        return [
            ("oauth_consumer_key", self.auth["consumer_key"]),
            *token,
            ("oauth_signature_method", self.auth.get("signature_method", "HMAC-SHA256")),
            ("oauth_timestamp", str(int(at.now))),
            ("oauth_nonce", at.chance),
            *([("oauth_version", self.version)] if self.version else []),
        ]

    def _sign(self, base: str) -> str:
        secrets = (self.auth["consumer_secret"], self.auth.get("token_secret", ""))
        key = "&".join(quote(secret, safe="~") for secret in secrets)
        name = self.auth.get("signature_method", "HMAC-SHA256").removeprefix("HMAC-").lower()
        return base64.b64encode(hmac.digest(key.encode(), base.encode(), getattr(hashlib, name))).decode()


def form_of(content_type: str, content: bytes) -> bytes:
    """What of a body is signed (RFC 5849, 3.4.1.3.1)."""
    return content if content_type.partition(";")[0].strip().lower() == _FORM else b""


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True)
