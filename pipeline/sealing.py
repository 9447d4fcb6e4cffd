"""One secret, sealed with AES-256-GCM for its tenant and name (NIST SP 800-38D).

Tenant and name are associated data: a record copied to another place of the bucket does not open there.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12  # the length GCM is made for; random, so at most 2^32 secrets under one key


class SealBroken(Exception):
    """The record does not open: another key, another place, or changed bytes. Says which secret, and what to do."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the bucket. key_id: tells keys apart and tells nothing of them."""

    v: int = 1
    key_id: str
    nonce: str
    sealed: str
    set_at: datetime


def seal(key: bytes, tenant: str, name: str, value: str, now: datetime) -> Sealed:
    """`key`: 32 bytes; `now`: with its time zone, kept in the clear."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, value.encode(), _place(tenant, name))
    return Sealed(key_id=_key_id(key), nonce=_base64(nonce), sealed=_base64(sealed), set_at=now)


def is_sealed_with(key: bytes, record: Sealed) -> bool:
    return record.key_id == _key_id(key)


def open_sealed(keys: Sequence[bytes], tenant: str, name: str, record: Sealed) -> str:
    """The secret; whichever of the keys sealed it. Raises SealBroken."""
    again = f"set it again: `bridge secret set {tenant} {name}`"
    key = next((each for each in keys if is_sealed_with(each, record)), None)
    if key is None:
        raise SealBroken(
            f"secret {name} of tenant {tenant} was sealed with another secrets.key than this process has: "
            f"start it again where the key was changed, or use that key, or {again}"
        )
    try:
        nonce, sealed = (base64.b64decode(part, validate=True) for part in (record.nonce, record.sealed))
        return AESGCM(key).decrypt(nonce, sealed, _place(tenant, name)).decode()
    except (InvalidTag, ValueError):
        raise SealBroken(
            f"secret {name} of tenant {tenant} is damaged or was copied from elsewhere; {again}"
        ) from None


def _place(tenant: str, name: str) -> bytes:
    return f"{tenant}/{name}".encode()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"fracttal-bridge secrets.key\0" + key).hexdigest()[:12]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
