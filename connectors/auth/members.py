"""What stands in `auth`, member by member: what it must look like, and whether it may be written in tenant.yaml. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.http_request import TOKEN, VISIBLE
from connectors.protocol import SettingsInvalid

_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_OPEN_NAMES = frozenset({
    "accept", "app", "appid", "application", "applicationid", "audience", "client", "clientid", "company",
    "companydb", "companyid", "contenttype", "database", "db", "email", "environment", "granttype", "lang",
    "language", "locale", "login", "organization", "organizationid", "partnerid", "resource", "responsetype",
    "scope", "tenant", "tenantid", "useragent", "user", "userid", "username",
})  # fmt: skip
"""Of members whose names the ERP chooses, these are known to be no secrets; `-`, `_` and capitals aside."""

_SURELY_SECRET = re.compile(r"pass|pwd|secret|token|clave|contrase|senha", re.IGNORECASE)

Check = Callable[[str, Any], None]
"""Takes the member's path below `auth` and its value. Raises SettingsInvalid, without the value."""


@dataclass(frozen=True, slots=True)
class Member:
    """secret: must be `${secret:NAME}`. names: holds names of the ERP's choice, each value a secret unless known to be
    none. members: holds just these. url: as base_url, with a query or not.
    """

    check: Check
    required: bool = False
    secret: bool = False
    names: bool = False
    url: bool = False
    members: Mapping[str, "Member"] = field(default_factory=dict)


def is_openable(name: str) -> bool:
    """Whether `auth.open` may list it: a password is none, whoever says so."""
    return _SURELY_SECRET.search(name) is None


def is_open_name(name: str, opened: Sequence[str]) -> bool:
    """opened: what `auth.open` lists."""
    return (name in opened and is_openable(name)) or name.lower().replace("-", "").replace(
        "_", ""
    ) in _OPEN_NAMES


def seconds(text: str) -> float:
    """A checked duration."""
    found = _DURATION.fullmatch(text)
    assert found is not None, "checked before"
    return float(int(found[1]) * _SECONDS[found[2]])


def text(path: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise SettingsInvalid(path, "is missing, or no text")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise SettingsInvalid(path, "has a line break or another control character in it")


def visible(path: str, value: Any) -> None:
    """What a header can carry (RFC 9110, 5.5), in ASCII."""
    text(path, value)
    if not value.isascii():
        raise SettingsInvalid(path, "has letters outside ASCII")


def prefix(path: str, value: Any) -> None:
    if not isinstance(value, str) or not VISIBLE.fullmatch(value):
        raise SettingsInvalid(path, "must be ASCII text, such as `Bearer ` with its blank, or an empty text")


def header_name(path: str, value: Any) -> None:
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        raise SettingsInvalid(path, "must be a header's name, such as X-API-Key")
    if value.lower() in _NOT_OURS:
        raise SettingsInvalid(path, f"{value} is set by HTTP itself; name another header")


_NOT_OURS = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip


def pem(path: str, value: Any) -> None:
    """Whether it is a key shows when the connection is opened: until then it may stand for a secret."""
    if not isinstance(value, str) or not value.strip():
        raise SettingsInvalid(path, "is missing, or no text")


def duration(path: str, value: Any) -> None:
    if not isinstance(value, str) or not _DURATION.fullmatch(value) or not seconds(value):
        raise SettingsInvalid(path, "must be a duration such as 90s, 25m or 1h")


def flag(path: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise SettingsInvalid(path, "must be true or false")


def one_of(*choices: str) -> Check:
    def check(path: str, value: Any) -> None:
        if value not in choices:
            raise SettingsInvalid(path, f"must be one of {', '.join(choices)}")

    return check


def texts(path: str, value: Any) -> None:
    """Names, each with a text."""
    for name, one in _named(path, value):
        text(f"{path}.{name}", one)


def headers(path: str, value: Any) -> None:
    for name, one in _named(path, value):
        header_name(f"{path}.{name}", name)
        visible(f"{path}.{name}", one)
    if len({name.lower() for name in value}) < len(value):
        raise SettingsInvalid(path, "has the same name twice, in capitals and not")


def tree(path: str, value: Any) -> None:
    """A JSON object."""
    _named(path, value)


def names(path: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise SettingsInvalid(path, "must be a list of names")


def statuses(path: str, value: Any) -> None:
    """Only what says that nothing was processed: a 2xx or a 5xx does not."""
    known = isinstance(value, list) and all(type(one) is int and 300 <= one < 500 for one in value)
    if not known or not value:
        raise SettingsInvalid(path, "must be a list of HTTP statuses from 300 to 499, such as [401, 403]")


def json_path(path: str, value: Any) -> None:
    if not isinstance(value, str) or not all(value.split(".")):
        raise SettingsInvalid(path, "must be names with dots between them, such as data.token")


def _named(path: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        raise SettingsInvalid(path, "must be names and their values")
    return list(value.items())
