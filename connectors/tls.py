"""A connection's `tls`: its certificate for mutual TLS, and the authority of an ERP that no public one vouches for.

All are PEM texts. What each side proves: RFC 8446, 4.4.2; a client's certificate at a token endpoint: RFC 8705.
"""

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from connectors.protocol import SettingsInvalid

MEMBERS = ("certificate", "key", "password", "ca")
_OPEN = frozenset({"certificate", "ca"})


def may_be_written(path: Sequence[str]) -> bool:
    """Whether tenant.yaml may hold what stands there: certificates are public."""
    return path[0] in _OPEN


def check_tls(tls: Mapping[str, Any], base_url: str) -> None:
    """Pure; secrets may be unresolved. Raises SettingsInvalid."""
    unknown = sorted(set(tls) - set(MEMBERS))
    if unknown:
        raise SettingsInvalid(f"tls.{unknown[0]}", f"tls takes only {', '.join(MEMBERS)}")
    for name, value in tls.items():
        if not isinstance(value, str) or not value.strip():
            raise SettingsInvalid(f"tls.{name}", "must be a text in PEM")
    if ("certificate" in tls) != ("key" in tls):
        raise SettingsInvalid("tls.key", "stands with tls.certificate: write both, or neither")
    if tls and not base_url.lower().startswith("https://"):
        raise SettingsInvalid("tls", "base_url is not https://, so nobody would ask for a certificate")


def equip(context: ssl.SSLContext, tls: Mapping[str, Any]) -> None:
    """Puts resolved `tls` into a context. Raises SettingsInvalid, with nothing of the key."""
    if "ca" in tls:
        try:
            context.load_verify_locations(cadata=tls["ca"].strip() + "\n")
        except (ssl.SSLError, ValueError):
            raise SettingsInvalid("tls.ca", "is no certificate in PEM") from None
    if "certificate" not in tls:
        return
    try:
        with _in_memory(f"{tls['key'].strip()}\n{tls['certificate'].strip()}\n") as path:
            # without a password OpenSSL would ask for one on the terminal
            context.load_cert_chain(path, password=tls.get("password", ""))
    except (ssl.SSLError, ValueError, OSError):
        raise SettingsInvalid(
            "tls.key",
            "and tls.certificate are no pair in PEM (or the key needs tls.password); set them again from their "
            "files: `bridge secret set … < key.pem`",
        ) from None


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path for OpenSSL, which reads files alone, to a text that no disk sees."""
    descriptor = os.memfd_create("tls")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
