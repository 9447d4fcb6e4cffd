"""Standard Webhooks signatures (specification 1.0, "Webhook Signatures"): HMAC-SHA256 of `id.timestamp.body`. Pure.

The header `webhook-signature` holds one or more, separated by spaces: `v1,<base64>`. Other versions are passed over.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass

PREFIX = "whsec_"
MAX_ID_BYTES = 256
_LEAST_SECRET_BYTES = 24
_SECONDS = re.compile(r"\d{1,12}")
_NOBODYS = b"checked in place of a secret that is not there, so that it takes as long"


class SecretInvalid(ValueError):
    """What should be a webhook secret is none."""


class SignatureInvalid(Exception):
    """The request is not signed by a secret of ours, or not now. Says what the sender may know."""


@dataclass(frozen=True, slots=True)
class SignatureHeaders:
    """The three headers as they came; empty where there is none."""

    id: str
    timestamp: str
    signature: str


def decode_secret(text: str) -> bytes:
    """The key in `whsec_<base64>`. Raises SecretInvalid, which quotes nothing."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or len(key) < _LEAST_SECRET_BYTES:
        raise SecretInvalid(
            f"not a webhook secret: write {PREFIX} and the base64 of at least {_LEAST_SECRET_BYTES} random bytes, "
            f'as `echo "{PREFIX}$(head -c 32 /dev/urandom | base64)"` makes one'
        )
    return key


def sign(secret: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The signature as the header has it."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def check_signature(
    headers: SignatureHeaders, body: bytes, secrets: Collection[bytes], *, now: float, tolerance: float
) -> None:
    """Raises SignatureInvalid.

    secrets: any of them will do (so they can be rotated); none: refused, after as long as with one.
    now, tolerance: seconds since the epoch, and how far the sender's clock may be from it, either way.
    """
    if not (headers.id and headers.timestamp and headers.signature):
        raise SignatureInvalid("headers webhook-id, webhook-timestamp and webhook-signature are needed")
    if len(headers.id.encode()) > MAX_ID_BYTES:
        raise SignatureInvalid(f"webhook-id has more than {MAX_ID_BYTES} bytes")
    expected = [
        sign(secret, headers.id, headers.timestamp, body).encode() for secret in secrets or (_NOBODYS,)
    ]
    given = [one.encode() for one in headers.signature.split(" ")]
    # every pair is compared, whatever was found before
    matches = [hmac.compare_digest(mine, one) for mine in expected for one in given]
    if not (any(matches) and secrets):
        raise SignatureInvalid("webhook-signature does not match")
    _check_timestamp(headers.timestamp, now, tolerance)


def _check_timestamp(written: str, now: float, tolerance: float) -> None:
    if not _SECONDS.fullmatch(written):
        raise SignatureInvalid("webhook-timestamp is not in whole seconds since 1970")
    if abs(now - int(written)) > tolerance:
        raise SignatureInvalid(
            f"webhook-timestamp is more than {tolerance:g} s from now: check the sender's clock"
        )
