"""The kinds of `auth`: what each holds, and which of it is a secret. Pure.

A kind is a row here, its words across members in `connectors.auth.checking`, and whoever makes requests of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.auth.members import (
    Member,
    duration,
    flag,
    header_name,
    headers,
    is_open_name,
    is_openable,
    json_path,
    names,
    one_of,
    pem,
    prefix,
    statuses,
    text,
    texts,
    tree,
    visible,
)
from connectors.http_request import path_target
from connectors.protocol import RequestInvalid, SettingsInvalid

Members = Mapping[str, Member]

_COMMON: Members = {
    "headers": Member(headers, names=True),  # beside whatever else: a gateway's key, a partner's id
    "open": Member(names),
}
_CLIENT: Members = {
    "token_url": Member(text, required=True, url=True),
    "client_id": Member(text, required=True),
    "client_secret": Member(text, secret=True),
    "client_auth": Member(one_of("client_secret_basic", "client_secret_post", "private_key_jwt", "none")),
    "scope": Member(text),
    "params": Member(texts, names=True),
    "header": Member(header_name),
    "prefix": Member(prefix),
}


def _assertion(*, required: bool) -> Member:
    members = {
        "private_key": Member(pem, required=True, secret=True),
        "algorithm": Member(one_of("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512")),
        "key_id": Member(text),
        "thumbprint": Member(text),
        "issuer": Member(text),
        "subject": Member(text),
        "audience": Member(text),
        "claims": Member(tree),
        "lifetime": Member(duration),
    }  # fmt: skip
    return Member(tree, required=required, members=members)


def _path(path: str, value: Any) -> None:
    try:
        path_target(value)
    except RequestInvalid:
        raise SettingsInvalid(path, "must be a path that begins with /, below base_url") from None


KINDS: Mapping[str, Members] = {
    "basic": {
        "username": Member(text, required=True),
        "password": Member(text, required=True, secret=True),
    },
    "bearer": {"token": Member(visible, required=True, secret=True)},
    "api_key": {
        "key": Member(visible, required=True, secret=True),
        "header": Member(header_name),
        "query": Member(text),
        "prefix": Member(prefix),
    },
    "headers": {},
    "oauth2_client_credentials": {**_CLIENT, "assertion": _assertion(required=False)},
    "oauth2_refresh_token": {
        **_CLIENT,
        "refresh_token": Member(text, required=True, secret=True),
        "assertion": _assertion(required=False),
    },
    "oauth2_jwt_bearer": {
        **_CLIENT,
        "client_id": Member(text),
        "assertion": _assertion(required=True),
    },
    "oauth1": {
        "consumer_key": Member(text, required=True),
        "consumer_secret": Member(text, required=True, secret=True),
        "token": Member(text, secret=True),
        "token_secret": Member(text, secret=True),
        "realm": Member(text),
        "signature_method": Member(one_of("HMAC-SHA256", "HMAC-SHA1")),
    },
    "session": {
        "path": Member(_path),
        "url": Member(text, url=True),
        "method": Member(one_of("POST", "GET", "PUT")),
        "query": Member(texts, names=True),
        "body": Member(tree, names=True),
        "form": Member(texts, names=True),
        "username": Member(text),
        "password": Member(text, secret=True),
        "cookies": Member(flag),
        "token": Member(json_path),
        "token_header": Member(header_name),
        "header": Member(header_name),
        "prefix": Member(prefix),
        "lifetime": Member(duration),
        "ended": Member(statuses),
    },
    "wsse_username": {
        "username": Member(text, required=True),
        "password": Member(text, required=True, secret=True),
        "digest": Member(flag),
        "timestamp": Member(flag),
    },
    "wsse_signature": {
        "certificate": Member(pem, required=True),
        "key": Member(pem, required=True, secret=True),
        "key_password": Member(text, secret=True),
    },
}
IN_ENVELOPES = frozenset({"wsse_username", "wsse_signature"})
"""Those of WS-Security (`connectors.wsse`), which only SOAP has a place for."""


def members_of(kind: str) -> Members | None:
    """What `auth` of this kind may hold besides `type`; None: there is no such kind."""
    own = KINDS.get(kind)
    return None if own is None else {**own, **_COMMON}


def may_be_written(auth: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether what stands at a path of `auth` is no secret, so that tenant.yaml may hold it. An unknown member is one."""
    if path[0] == "type":
        return True
    kind = auth.get("type")
    members = members_of(kind) if isinstance(kind, str) else None
    if members is None:
        return path[0] == "username"
    member = members.get(path[0])
    for deeper, name in enumerate(path[1:], start=1):
        if member is None or not member.members:
            return member is not None and _is_written_in(member, auth, path[deeper:])
        member = member.members.get(name)
    return member is not None and not member.secret and not member.names and not member.members


def may_be_opened(auth: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether `auth.open` may list what stands at a path: its name is the ERP's choice, so nobody here knows what it is."""
    kind = auth.get("type")
    member = (members_of(kind) or {}).get(path[0]) if isinstance(kind, str) else None
    return member is not None and member.names and len(path) > 1 and is_openable(path[-1])


def _is_written_in(member: Member, auth: Mapping[str, Any], names: Sequence[str]) -> bool:
    if not member.names:
        return not member.secret
    opened = auth.get("open")
    return is_open_name(names[-1], opened if isinstance(opened, list) else ())


def secret_texts(auth: Mapping[str, Any], hidden: frozenset[str] = frozenset()) -> set[str]:
    """What of resolved `auth` must be shown to nobody. hidden: dotted paths that came from secrets, whatever they are."""
    return {
        str(value)
        for path, value in leaves(auth)
        if value is not None and (not may_be_written(auth, path) or ".".join(path) in hidden)
    }


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single value and its path; the elements of a list have the list's."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from leaves(one, (*path, str(name)))
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one, path)
    else:
        yield path, value
