"""Whether a connection's `auth` says all that its kind needs, and nothing that contradicts itself."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from connectors.auth.kinds import IN_ENVELOPES, KINDS, Members, members_of
from connectors.protocol import SettingsInvalid


def check_auth(auth: Mapping[str, Any], *, envelopes: bool = False) -> None:
    """envelopes: whether what is sent has a place for WS-Security. No auth at all is right, too.

    Raises SettingsInvalid, with the key and without the value.
    """
    if not auth:
        return
    kind = auth.get("type")
    known = [name for name in KINDS if envelopes or name not in IN_ENVELOPES]
    members = members_of(kind) if isinstance(kind, str) and kind in known else None
    if members is None:
        raise SettingsInvalid("auth.type", f"{kind!r} is none of {', '.join(known)}")
    _check_members(f"{kind} auth", "auth", members, {name: auth[name] for name in auth if name != "type"})
    _check_together(str(kind), auth)


def _check_members(what: str, path: str, members: Members, values: Mapping[str, Any]) -> None:
    for name, member in members.items():
        where = f"{path}.{name}"
        if name not in values:
            if member.required:
                raise SettingsInvalid(where, f"is missing: write {_written(name, member.secret)}")
            continue
        member.check(where, values[name])
        if member.url:
            _check_url(where, values[name])
        if member.members:
            _check_members(name, where, member.members, values[name])
    unknown = sorted(set(values) - set(members))
    if unknown:
        raise SettingsInvalid(f"{path}.{unknown[0]}", f"{what} takes only {', '.join(members)}")


def _written(name: str, secret: bool) -> str:  # noqa: FBT001  one call
    return f'`{name}: "${{secret:NAME}}"`, and run `bridge secret set`' if secret else f"`{name}: …`"


def _check_url(where: str, url: str) -> None:
    from connectors.base_url import check_base_url  # noqa: PLC0415  httpx and yarl, which who renders has no use for

    if "#" in url:
        raise SettingsInvalid(where, "must hold no fragment")
    try:
        check_base_url(url.partition("?")[0])
    except SettingsInvalid as error:
        raise SettingsInvalid(where, error.message) from None
    if not urlsplit(url).query.isascii() or " " in url:
        raise SettingsInvalid(where, "has a query with letters that must be percent-encoded")


def _check_together(kind: str, auth: Mapping[str, Any]) -> None:
    match kind:
        case "basic" if ":" in auth["username"]:
            raise SettingsInvalid("auth.username", "a colon would end it early (RFC 7617)")
        case "api_key":
            _check_one_of(auth, "header", "query")
            if "query" in auth and "prefix" in auth:
                raise SettingsInvalid("auth.prefix", "stands before a header's value; a query has none")
        case "headers" if "headers" not in auth:
            raise SettingsInvalid(
                "auth.headers", 'is missing: write `headers: {X-API-Key: "${secret:NAME}"}`'
            )
        case "oauth2_client_credentials" | "oauth2_refresh_token" | "oauth2_jwt_bearer":
            _check_client(kind, auth)
        case "oauth1":
            if ("token" in auth) != ("token_secret" in auth):
                raise SettingsInvalid("auth.token_secret", "stands with auth.token: write both, or neither")
            if '"' in auth.get("realm", ""):
                raise SettingsInvalid("auth.realm", 'must hold no "')
        case "session":
            _check_session(auth)


def _check_client(kind: str, auth: Mapping[str, Any]) -> None:
    way = auth.get("client_auth", "")
    grants = kind != "oauth2_jwt_bearer"
    if way.startswith("client_secret") and "client_secret" not in auth:
        raise SettingsInvalid("auth.client_secret", f"is missing: {way} needs it")
    if way == "private_key_jwt" and ("assertion" not in auth or not grants):
        raise SettingsInvalid("auth.client_auth", f"{way} needs auth.assertion, and not as the grant itself")
    if way == "none" and "client_secret" in auth:
        raise SettingsInvalid("auth.client_auth", "none sends no client_secret; take out one of the two")
    if "client_secret" in auth and "client_id" not in auth:
        raise SettingsInvalid("auth.client_id", "is missing: client_secret belongs to one")
    if kind == "oauth2_client_credentials" and not way and not {"client_secret", "assertion"} & set(auth):
        raise SettingsInvalid(
            "auth.client_secret",
            f"is missing: write {_written('client_secret', secret=True)}; or write auth.assertion with a "
            "private key, or `client_auth: none` where the connection's certificate says who you are",
        )
    if kind == "oauth2_jwt_bearer" and not {"issuer", "client_id"} & {*auth, *auth["assertion"]}:
        raise SettingsInvalid("auth.assertion.issuer", "is missing: write `issuer: …`, or auth.client_id")


def _check_session(auth: Mapping[str, Any]) -> None:
    _check_one_of(auth, "path", "url")
    if "body" in auth and "form" in auth:
        raise SettingsInvalid("auth.form", "a login sends one of body, form")
    if ("username" in auth) != ("password" in auth):
        raise SettingsInvalid("auth.password", "stands with auth.username: write both, or neither")
    if ":" in auth.get("username", ""):
        raise SettingsInvalid("auth.username", "a colon would end it early (RFC 7617)")
    if "token" in auth and "token_header" in auth:
        raise SettingsInvalid("auth.token_header", "the token is read from one place: token, or token_header")
    if auth.get("cookies") is False and not {"token", "token_header"} & set(auth):
        raise SettingsInvalid(
            "auth.token", "is missing: without cookies it says where the answer holds a token"
        )


def _check_one_of(auth: Mapping[str, Any], one: str, other: str) -> None:
    if (one in auth) == (other in auth):
        raise SettingsInvalid(f"auth.{one}", f"write either {one} or {other}")
