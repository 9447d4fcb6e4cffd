"""Values from a database as one token of a NATS subject or one part of a bucket key.

Every byte outside `[A-Za-z0-9_-]` becomes `=XX`; empty is `=`; what would be longer than 150 bytes is `=h` and
the value's SHA-256, so that a subject stays within the server's limit.
"""

import hashlib
import re

NO_TENANT = "_"
"""The tenant token of a table without a tenant."""
UNKNOWN_TENANT = "~"
"""The tenant token where the tenant is NULL or cannot be told."""

_MAX = 150
_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def escape(value: str) -> str:
    """A value as a token, one to one up to 150 bytes."""
    if not value:
        return "="
    raw = value.encode("utf-8", "surrogatepass")
    token = _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], raw)
    if len(token) > _MAX:
        return "=h" + hashlib.sha256(raw).hexdigest()
    return token.decode("ascii")


def tenant_token(key: str) -> str:
    """A tenant key as a token; never equal to `NO_TENANT` or `UNKNOWN_TENANT`."""
    return "=5F" if key == NO_TENANT else escape(key)
