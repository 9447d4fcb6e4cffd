"""tenant.yaml, read and checked: key, connections and routes, before their mappings are looked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pipeline.problems import Problems, mapping_of, one_of, or_default
from pipeline.quantities import check_name, duration, number, whole
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.model import PLACEHOLDER, Connection, RetryPolicy
from pipeline.yaml_nodes import Entry, MappingNode, Node, nearest

_KEYS = ("key", "timezone", "connections", "routes")
_ROUTE_KEYS = ("mapping", "connection", "params", "retry", "deadline", "on_dead_letter")


@dataclass(frozen=True, slots=True)
class WrittenRoute:
    """A route as written, with the nodes that complaints about its mapping point to."""

    node: MappingNode
    name: str
    mapping: str
    connection: str
    params: Mapping[str, Any]
    retry: RetryPolicy
    deadline_s: float | None
    on_dead_letter: Literal["continue", "block"]


@dataclass(frozen=True, slots=True)
class WrittenTenant:
    """tenant.yaml by itself."""

    key: str
    key_node: Node
    timezone: str
    connections: Mapping[str, Connection]
    routes: Mapping[str, WrittenRoute]


def read_tenant(name: str, root: Node) -> WrittenTenant:
    """`name`: the tenant's.

    Raises:
        YamlError, ConfigurationInvalid: naming file, line and remedy.
    """
    if root.is_null:
        raise root.error('is empty; write at least `key: "…"`, the tenant column\'s value')
    section = root.as_mapping()
    problems = Problems()
    problems.attempt(lambda: mapping_of(section, _KEYS), None)
    tenant = WrittenTenant(
        key=problems.attempt(lambda: _key(section.require("key")), ""),
        key_node=section.get("key") or section,
        timezone=problems.attempt(lambda: _timezone(section.get("timezone")), ""),
        connections=problems.attempt(lambda: read_connections(name, section.get("connections")), {}),
        routes=problems.attempt(lambda: _routes(section), {}),
    )
    problems.raise_any()
    return tenant


def _key(node: Node) -> str:
    key = node.as_text()
    if not key:
        raise node.error("key: is empty; write the tenant column's value")
    return key


def _timezone(node: Node | None) -> str:
    zone = "UTC" if node is None else node.as_text()
    try:
        ZoneInfo(zone)
    except (LookupError, ValueError, OSError):
        assert node is not None, "UTC is a time zone"
        raise node.error(
            f"timezone: {zone!r} is no IANA time zone, such as America/Santiago{nearest(zone, available_timezones())}"
        ) from None
    return zone


def _routes(tenant: MappingNode) -> dict[str, WrittenRoute]:
    node, connections = tenant.get("routes"), tenant.get("connections")
    names = connections.keys() if isinstance(connections, MappingNode) else ()
    found: dict[str, WrittenRoute] = {}
    problems = Problems()
    for entry in () if node is None else node.as_mapping():
        route = problems.attempt(partial(_route, entry, names), None)
        if route is not None:
            found[entry.key] = route
    problems.raise_any()
    return found


def _route(entry: Entry, connections: Collection[str]) -> WrittenRoute:
    check_name(entry.key, entry.mark, "a route's name")
    section = mapping_of(entry.value, _ROUTE_KEYS)
    connection = section.require("connection")
    if connection.as_text() not in connections:
        raise connection.error(
            f"{connection.mark.path}: there is no connection {connection.as_text()!r}"
            f"{nearest(connection.as_text(), connections)}"
        )
    policy = or_default(section.get("on_dead_letter"), _on_dead_letter, "continue")
    params = section.get("params")
    return WrittenRoute(
        node=section,
        name=entry.key,
        mapping=section.require("mapping").as_text(),
        connection=connection.as_text(),
        params={} if params is None else {each.key: _param(each) for each in params.as_mapping()},
        retry=_retry(section.get("retry")),
        deadline_s=or_default(section.get("deadline"), duration, None),
        on_dead_letter="block" if policy == "block" else "continue",
    )


def _param(entry: Entry) -> Any:
    """Raises YamlError for what looks as if it were replaced, and would be sent as it stands."""
    value = entry.value.plain()
    if isinstance(value, str) and PLACEHOLDER.search(value):
        raise entry.value.error(
            f"{entry.mark.path}: tenants resolve ${{secret:NAME}} only, and only in auth; write the value out"
        )
    return value


def _on_dead_letter(node: Node) -> str:
    return one_of(node, ("continue", "block"))


def _retry(node: Node | None) -> RetryPolicy:
    defaults = RetryPolicy()
    if node is None:
        return defaults
    section = mapping_of(node, ("max_attempts", "initial", "factor", "max", "jitter"))
    policy = RetryPolicy(
        max_attempts=or_default(section.get("max_attempts"), whole, defaults.max_attempts),
        initial_s=or_default(section.get("initial"), duration, defaults.initial_s),
        factor=or_default(section.get("factor"), number, defaults.factor),
        max_s=or_default(section.get("max"), duration, defaults.max_s),
        jitter=or_default(section.get("jitter"), number, defaults.jitter),
    )
    if policy.factor < 1:
        raise section.require("factor").error(f"{section.mark.path}.factor: expected a number from 1 on")
    if not 0 <= policy.jitter <= 1:
        raise section.require("jitter").error(f"{section.mark.path}.jitter: expected a number from 0 to 1")
    if policy.initial_s > policy.max_s:
        raise section.error(f"{section.mark.path}: initial is longer than max ({policy.max_s:g} s)")
    return policy
