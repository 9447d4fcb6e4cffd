"""The section `connections` of tenant.yaml: where a tenant's ERPs are, and how they are treated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from connectors.auth.kinds import KINDS, may_be_opened, may_be_written, members_of
from connectors.protocol import ConnectionSettings, KindUnusable, OptionUnknown, SettingsInvalid
from connectors.registry import check_settings, kinds
from connectors.tls import check_tls
from connectors.tls import may_be_written as may_be_written_in_tls
from pipeline.problems import Problems, mapping_of, one_of, or_default
from pipeline.quantities import check_name, duration, rate, share, whole
from pipeline.tenants.model import PLACEHOLDER, SECRET_REFERENCE, BreakerPolicy, Connection
from pipeline.yaml_nodes import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode, YamlError, nearest

_KEYS = ("connector", "base_url", "auth", "tls", "timeout", "concurrency", "rate_limit", "breaker")
_IsOpen = Callable[[Sequence[str]], bool]
"""Whether what stands at a path is no secret."""


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
    auth, tls = section.get("auth"), section.get("tls")
    connector = one_of(section.require("connector"), kinds())
    options = {each.key: each.value.plain() for each in section if each.key not in _KEYS}
    connection = Connection(
        name=entry.key,
        connector=connector,
        base_url=_base_url(section.require("base_url")),
        auth={} if auth is None else _auth(tenant, connector, options, auth),
        tls={} if tls is None else _with_secrets(tenant, tls, may_be_written_in_tls),
        timeout_s=or_default(section.get("timeout"), duration, defaults.timeout_s),
        concurrency=or_default(section.get("concurrency"), whole, defaults.concurrency),
        rate_limit=or_default(section.get("rate_limit"), rate, None),
        breaker=_breaker(section.get("breaker")),
        options=options,
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


def _auth(tenant: str, connector: str, options: dict[str, Any], node: Node) -> dict[str, Any]:
    section = node.as_mapping()
    written = {entry.key: entry.value.plain() for entry in section}
    try:
        return _with_secrets(tenant, section, partial(may_be_written, written))
    except _Unwritten as error:
        _check_known(connector, options, section, error)
        hint = f", or, if it is no secret, list it in auth.open: `open: [{error.path[-1]}]`"
        raise YamlError(
            error.mark, error.message + (hint if may_be_opened(written, error.path) else "")
        ) from None


def _check_known(connector: str, options: dict[str, Any], section: MappingNode, found: "_Unwritten") -> None:
    """A word that is misspelt is no secret that should not be written: what nobody knows counts as one."""
    written = section.get("type")
    kind = None if written is None else written.plain()
    members = members_of(kind) if isinstance(kind, str) else None
    if members is not None and found.path[0] not in members:
        name = found.path[0]
        raise section.error(
            f"{section.mark.path}.{name}: is nothing that {kind} auth takes{nearest(name, members)}"
        )
    try:
        check_settings(connector, ConnectionSettings("https://erp.example", {"type": kind}, options=options))
    except SettingsInvalid as error:
        if error.key == "auth.type":
            node = _node_at(section, "type")
            hint = nearest(str(kind), KINDS)
            meant = "" if "known:" in hint else hint  # the message lists them
            raise node.error(f"{section.mark.path}.type: {error.message}{meant}") from None
    except KindUnusable:
        return  # said where the connector is


def _with_secrets(tenant: str, node: Node, is_open: _IsOpen) -> dict[str, Any]:
    """The section, in which every secret is a reference to one."""
    section = node.as_mapping()
    for entry in section:
        _check_written(tenant, entry, (entry.key,), is_open)
    return {entry.key: entry.value.plain() for entry in section}


def _check_written(tenant: str, entry: Entry, path: Sequence[str], is_open: _IsOpen) -> None:
    match entry.value:
        case MappingNode() as below:
            for each in below:
                _check_written(tenant, each, (*path, each.key), is_open)
        case SequenceNode() as several:
            for item in several:
                _check_written(tenant, replace(entry, value=item), path, is_open)
        case ScalarNode() as scalar if not is_open(path) or PLACEHOLDER.search(scalar.text):
            _check_is_reference(tenant, entry.mark, path, scalar)


class _Unwritten(YamlError):
    """Something at this path of `auth` or `tls` should be a reference to a secret."""

    def __init__(self, mark: Mark, message: str, path: Sequence[str]) -> None:
        super().__init__(mark, message)
        self.path = path


def _check_is_reference(tenant: str, mark: Mark, path: Sequence[str], written: ScalarNode) -> None:
    if (reference := SECRET_REFERENCE.fullmatch(written.text)) is None:
        raise _Unwritten(
            mark,
            f"{mark.path}: a {path[-1]} is not written here; run `bridge secret set {tenant} NAME` and write "
            f'{path[-1]}: "${{secret:NAME}}"',
            path,
        )
    check_name(reference[1], written.mark, "a secret's name")


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
        auth=_as_resolved(connection.auth),
        tls=_as_resolved(connection.tls),
        timeout_s=connection.timeout_s,
        concurrency=connection.concurrency,
        options=connection.options,
    )
    try:
        check_tls(settings.tls, settings.base_url)
        check_settings(connection.connector, settings)
    except SettingsInvalid as error:
        known = nearest(error.key, {*_KEYS, *error.options}) if isinstance(error, OptionUnknown) else ""
        node = _node_at(section, error.key)
        raise node.error(f"{section.mark.path}.{error.key}: {error.message}{known}") from None
    except KindUnusable as error:
        node = _node_at(section, "connector")
        raise node.error(f"{node.mark.path}: {error}") from None


def _as_resolved(value: Any) -> Any:
    """What it stands for is known at the first delivery alone: until then anything that is right."""
    match value:
        case dict():
            return {key: _as_resolved(one) for key, one in value.items()}
        case list():
            return [_as_resolved(one) for one in value]
        case str() if SECRET_REFERENCE.fullmatch(value):
            return "secret"
        case _:
            return value


def _node_at(section: MappingNode, path: str) -> Node:
    """The node of a dotted path, or the nearest one above it that is written."""
    node: Node = section
    for key in path.split("."):
        below = node.get(key) if isinstance(node, MappingNode) else None
        if below is None:
            break
        node = below
    return node
