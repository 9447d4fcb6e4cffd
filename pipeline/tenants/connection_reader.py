"""The section `connections` of tenant.yaml: where a tenant's ERPs are, and how they are treated."""

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from connectors.protocol import ConnectionSettings, KindUnusable, SettingsInvalid
from connectors.registry import PLANNED, check_settings, kinds
from pipeline.problems import Problems, mapping_of, one_of, or_default
from pipeline.quantities import check_name, duration, rate, share, whole
from pipeline.tenants.model import PLACEHOLDER, SECRET_REFERENCE, BreakerPolicy, Connection
from pipeline.yaml_nodes import Entry, MappingNode, Node, ScalarNode, YamlError, nearest

_KEYS = ("connector", "base_url", "auth", "timeout", "concurrency", "rate_limit", "breaker")
_OPEN_AUTH_KEYS = ("type", "username")
"""What stands in `auth` and is no secret. Everything else there is, whatever kinds may come."""


def read_connections(tenant: str, node: Node | None) -> dict[str, Connection]:
    found: dict[str, Connection] = {}
    problems = Problems()
    for entry in () if node is None else node.as_mapping():
        connection = problems.attempt(partial(_connection, tenant, entry), None)
        if connection is not None:
            found[entry.key] = connection
    problems.raise_any()
    return found


def _connection(tenant: str, entry: Entry) -> Connection:
    check_name(entry.key, entry.mark, "a connection's name")
    section = entry.value.as_mapping()
    defaults = Connection("", "", "")
    auth = section.get("auth")
    connection = Connection(
        name=entry.key,
        connector=one_of(section.require("connector"), kinds(), later=PLANNED),
        base_url=_base_url(section.require("base_url")),
        auth={} if auth is None else _auth(tenant, auth),
        timeout_s=or_default(section.get("timeout"), duration, defaults.timeout_s),
        concurrency=or_default(section.get("concurrency"), whole, defaults.concurrency),
        rate_limit=or_default(section.get("rate_limit"), rate, None),
        breaker=_breaker(section.get("breaker")),
        options={each.key: each.value.plain() for each in section if each.key not in _KEYS},
    )
    _check_by_connector(section, connection)
    return connection


def _base_url(node: Node) -> str:
    url = node.as_text()
    if PLACEHOLDER.search(url):
        raise node.error(
            f"{node.mark.path}: tenants resolve ${{secret:NAME}} only, and only in auth; write the URL out"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise node.error(f"{node.mark.path}: {error}; write https://host/path") from None
    if parts.username or parts.password:
        raise node.error(f"{node.mark.path}: holds a user or password; move it to auth")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise node.error(f"{node.mark.path}: not a URL; write https://host/path")
    return url


def _auth(tenant: str, node: Node) -> dict[str, Any]:
    section = node.as_mapping()
    for entry in section:
        if entry.key not in _OPEN_AUTH_KEYS or _has_placeholder(entry.value):
            _check_is_reference(tenant, entry)
    return {entry.key: entry.value.plain() for entry in section}


def _has_placeholder(node: Node) -> bool:
    return isinstance(node, ScalarNode) and PLACEHOLDER.search(node.text) is not None


def _check_is_reference(tenant: str, entry: Entry) -> None:
    written = entry.value.text if isinstance(entry.value, ScalarNode) else ""
    if (reference := SECRET_REFERENCE.fullmatch(written)) is None:
        raise YamlError(
            entry.mark,
            f"{entry.mark.path}: a {entry.key} is not written here; run `bridge secret set {tenant} NAME` and write "
            f'{entry.key}: "${{secret:NAME}}"',
        )
    check_name(reference[1], entry.value.mark, "a secret's name")


def _breaker(node: Node | None) -> BreakerPolicy:
    defaults = BreakerPolicy()
    if node is None:
        return defaults
    section = mapping_of(node, ("failures", "window", "open", "ratio", "requests"))
    return BreakerPolicy(
        failures=or_default(section.get("failures"), whole, defaults.failures),
        window_s=or_default(section.get("window"), duration, defaults.window_s),
        open_s=or_default(section.get("open"), duration, defaults.open_s),
        ratio=or_default(section.get("ratio"), share, defaults.ratio),
        requests=or_default(section.get("requests"), whole, defaults.requests),
    )


def _check_by_connector(section: MappingNode, connection: Connection) -> None:
    """What only the connector's kind knows: its auth types and options."""
    settings = ConnectionSettings(
        base_url=connection.base_url,
        auth={key: _as_resolved(value) for key, value in connection.auth.items()},
        timeout_s=connection.timeout_s,
        concurrency=connection.concurrency,
        options=connection.options,
    )
    try:
        check_settings(connection.connector, settings)
    except SettingsInvalid as error:
        known = nearest(error.key, _KEYS) if error.key in connection.options else ""
        node = _node_at(section, error.key)
        raise node.error(f"{section.mark.path}.{error.key}: {error.message}{known}") from None
    except KindUnusable as error:
        node = _node_at(section, "connector")
        raise node.error(f"{node.mark.path}: {error}") from None


def _as_resolved(value: Any) -> Any:
    """What it stands for is known at the first delivery alone: until then anything that is right."""
    return "secret" if isinstance(value, str) and SECRET_REFERENCE.fullmatch(value) else value


def _node_at(section: MappingNode, path: str) -> Node:
    """The node of a dotted path, or the nearest one above it that is written."""
    node: Node = section
    for key in path.split("."):
        below = node.get(key) if isinstance(node, MappingNode) else None
        if below is None:
            break
        node = below
    return node
