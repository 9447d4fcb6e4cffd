"""What every request carries where nothing ends: basic (RFC 7617), bearer (RFC 6750), API keys, headers. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Fixed:
    """headers: added to each request. query: `name=value` for each target, "" for none; percent-encoded."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)


def fixed(auth: Mapping[str, Any]) -> Fixed:
    """Of checked auth, of any kind: what its requests carry besides a signature or a pass."""
    own = dict(auth.get("headers", {}))
    match auth.get("type"):
        case "basic":
            return Fixed({**own, "Authorization": basic(auth["username"], auth["password"])})
        case "bearer":
            return Fixed({**own, "Authorization": f"Bearer {auth['token']}"})
        case "api_key" if "query" in auth:
            return Fixed(own, f"{quote(auth['query'], safe='')}={quote(auth['key'], safe='')}")
        case "api_key":
            return Fixed({**own, auth["header"]: auth.get("prefix", "") + auth["key"]})
        case _:
            return Fixed(own)


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
