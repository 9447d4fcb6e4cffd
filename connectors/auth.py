"""A connection's `auth`: basic (RFC 7617) and bearer (RFC 6750), as the Authorization header they become."""

import base64
from collections.abc import Mapping
from typing import Any

from connectors.protocol import SettingsInvalid

FIELDS: Mapping[str, tuple[str, ...]] = {"basic": ("username", "password"), "bearer": ("token",)}
"""What each auth type needs, besides `type`."""
SECRET_FIELDS = frozenset({"password", "token"})
"""Which of them must come from `${secret:NAME}`."""


def check_auth(auth: Mapping[str, Any]) -> None:
    """Raises SettingsInvalid, with the key and without the value. No auth at all is right, too."""
    if not auth:
        return
    kind = auth.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise SettingsInvalid("auth.type", f"{kind!r} is none of {', '.join(FIELDS)}")
    for name in FIELDS[kind]:
        _check_field(name, auth.get(name))
    unknown = sorted(set(auth) - {"type", *FIELDS[kind]})
    if unknown:
        raise SettingsInvalid(f"auth.{unknown[0]}", f"{kind} auth takes only {', '.join(FIELDS[kind])}")
    if kind == "basic" and ":" in auth["username"]:
        raise SettingsInvalid("auth.username", "a colon would end it early (RFC 7617)")


def _check_field(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise SettingsInvalid(f"auth.{name}", "is missing, or no text")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise SettingsInvalid(f"auth.{name}", "has a line break or another control character in it")
    if name == "token" and not value.isascii():
        raise SettingsInvalid("auth.token", "has letters outside ASCII")


def authorization(auth: Mapping[str, Any]) -> str | None:
    """The Authorization header of checked auth; None without any."""
    match auth.get("type"):
        case "basic":
            pair = f"{auth['username']}:{auth['password']}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        case "bearer":
            return f"Bearer {auth['token']}"
        case _:
            return None
