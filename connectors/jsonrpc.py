"""The kind `jsonrpc`: one call of a method, in the dialect that the connection names.

Connection options: `dialect` (`connectors.jsonrpc_dialect`), `database` (of Odoo and Tryton), and `path`, where another
than the dialect's is meant. `auth: {type: login}` is for Odoo's old interface and for Tryton, which want a user's name
and password once, and something else with each call (`connectors.jsonrpc_login`).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from connectors.auth import check_auth
from connectors.http_request import endpoint_target, header_texts, path_target, with_usual
from connectors.http_settings import check_endpoint, check_options
from connectors.jsonrpc_dialect import DIALECTS, NEED_DATABASE, Dialect, written
from connectors.protocol import (
    ConnectionSettings,
    Connector,
    Leaf,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
    SettingsInvalid,
)

LOGIN = "login"
_LOGIN_FIELDS = ("username", "password")
_OPTIONS = ("dialect", "database", "path")


def method_name(method: Any) -> str:
    if not isinstance(method, str) or not method or not method.isprintable():
        raise RequestInvalid(f"request.method must be the name of a method, this is {method!r}")
    return method


SHAPE = RequestShape({
    "method": RequestKey(Leaf.TEXT, required=True, check=method_name),
    "params": RequestKey(Leaf.TREE),
    "path": RequestKey(Leaf.PATH, check=path_target),
    "headers": RequestKey(Leaf.HEADER, check=header_texts),
}, payload=("params",))  # fmt: skip


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """As JSON-RPC 2.0. Raises RequestInvalid."""
    return prepare_in("2.0", request, idempotency_key)


def prepare_in(
    dialect: Dialect, request: Mapping[str, Any], idempotency_key: str, database: str = "", path: str = ""
) -> Prepared:
    """parts: method, params, headers, id, and the path below base_url where there is one. The id is the Idempotency-Key,
    the same for every attempt.

    path: of the connection, which a mapping's own goes before. Raises RequestInvalid.
    """
    SHAPE.check_keys("jsonrpc", request)
    method, params = method_name(request.get("method")), request.get("params")
    call = written(dialect, database, (method, params, idempotency_key))
    target = path_target(request["path"]) if "path" in request else path or call.target
    parts = {
        "method": method,
        **({"path": target} if target else {}),
        "params": params,
        "headers": _headers(request, idempotency_key, call.headers),
        "id": idempotency_key,
    }
    return Prepared("jsonrpc", parts, call.content)


def showing(settings: ConnectionSettings) -> Callable[[Prepared], dict[str, Any]]:
    """What shows a call as the connection's dialect has it. That raises RequestInvalid."""

    def shown(prepared: Prepared) -> dict[str, Any]:
        request = {name: prepared.parts[name] for name in SHAPE.keys if name in prepared.parts}
        call_id = prepared.parts["id"]
        return prepare_in(
            dialect_of(settings), request, call_id, database_of(settings), path_of(settings)
        ).to_json()

    return shown


def _headers(
    request: Mapping[str, Any], idempotency_key: str, of_dialect: Mapping[str, str]
) -> dict[str, str]:
    usual = header_texts({
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
        "User-Agent": "fracttal-bridge",
        **of_dialect,
    })  # fmt: skip
    return with_usual(header_texts(request.get("headers")), usual)


def dialect_of(settings: ConnectionSettings) -> Dialect:
    """Of checked settings. YAML reads `2.0` as a number."""
    return cast(Dialect, str(settings.options.get("dialect", "2.0")))


def database_of(settings: ConnectionSettings) -> str:
    return str(settings.options.get("database", ""))


def path_of(settings: ConnectionSettings) -> str:
    """Where calls go, below base_url; "": where the dialect says. A slash at the end of an endpoint's URL is part of it."""
    path = settings.options.get("path")
    if path is not None:
        return path_target(path)
    return endpoint_target(settings.base_url) if dialect_of(settings) == "2.0" else ""


def check_settings(settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved. Raises SettingsInvalid."""
    check_endpoint(settings)
    check_options(settings, _OPTIONS)
    dialect = dialect_of(settings)
    if dialect not in DIALECTS:
        raise SettingsInvalid("dialect", f"{dialect!r} is none of {', '.join(DIALECTS)}")
    _check_database(settings, dialect)
    _check_path(settings)
    _check_auth(settings.auth, dialect)


def _check_database(settings: ConnectionSettings, dialect: Dialect) -> None:
    database = settings.options.get("database")
    if database is None and dialect in NEED_DATABASE:
        raise SettingsInvalid("database", f"is missing: {dialect} asks for the database's name")
    if database is not None and dialect == "2.0":
        raise SettingsInvalid("database", f"is for the dialects {', '.join(DIALECTS[1:])} alone")
    if database is not None and (
        not isinstance(database, str) or not database or not database.isascii() or not database.isprintable()
    ):
        raise SettingsInvalid("database", f"must be a text of printable ASCII, this is {database!r}")


def _check_path(settings: ConnectionSettings) -> None:
    try:
        path_target(settings.options.get("path", "/"))
    except RequestInvalid as error:
        raise SettingsInvalid("path", str(error)) from None


def _check_auth(auth: Mapping[str, Any], dialect: Dialect) -> None:
    if auth.get("type") != LOGIN:
        if dialect == "odoo_legacy":
            raise SettingsInvalid("auth", "odoo_legacy takes auth: {type: login, username: …, password: …}")
        check_auth(auth)
        return
    if dialect not in NEED_DATABASE:
        raise SettingsInvalid(
            "auth.type", f"login is for the dialects {', '.join(sorted(NEED_DATABASE))} alone"
        )
    for name in _LOGIN_FIELDS:
        if not isinstance(auth.get(name), str) or not auth[name]:
            raise SettingsInvalid(f"auth.{name}", "is missing, or no text")
    unknown = sorted(set(auth) - {"type", *_LOGIN_FIELDS})
    if unknown:
        raise SettingsInvalid(f"auth.{unknown[0]}", f"login takes only {', '.join(_LOGIN_FIELDS)}")


def open_connector(settings: ConnectionSettings) -> Connector:
    """Connects to nothing yet. Raises SettingsInvalid."""
    # who only compiles mappings and renders needs no HTTP client (`pipeline.jail.child`)
    from connectors.jsonrpc_connector import JsonRpcConnector  # noqa: PLC0415

    check_settings(settings)
    return JsonRpcConnector(settings)
