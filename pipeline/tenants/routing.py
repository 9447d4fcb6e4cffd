"""From where on a tenant's routes hold: the message `routes.<tenant>` and the router's table made of it (rule T4).

The message stands in `EVENTS` among the events themselves, so every reader, also after a crash, decides alike: an
event at sequence s goes to a route if since < s ≤ until. A route whose filter changes is the old span ended and a
new one begun. Pure: `apply` publishes what `next_routes` returns, the router reads it into a `RoutingTable`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from eventbus.subjects import EventSubject
from eventbus.tokens import NO_TENANT, UNKNOWN_TENANT, escape, tenant_token
from pipeline.tenants.model import RouteSource, Tenant

FOREVER = 2**63 - 1
"""The `until` of a span that is in force."""


class RoutingInvalid(ValueError):
    """A message `routes.<tenant>` cannot be read."""


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """What one route of a tenant asks for. key: the tenant column's value."""

    route: str
    key: str
    source: RouteSource


@dataclass(frozen=True, slots=True)
class RouteSpan:
    """A filter and the sequences of `EVENTS` between which it holds: since < s ≤ until."""

    filter: RouteFilter
    since: int
    until: int = FOREVER


@dataclass(frozen=True, slots=True)
class TenantRoutes:
    """All spans of one tenant. revision: of the version in the bucket that they were made from."""

    tenant: str
    revision: int
    spans: tuple[RouteSpan, ...]

    @property
    def in_force(self) -> frozenset[RouteFilter]:
        """The filters that hold from here on."""
        return frozenset(span.filter for span in self.spans if span.until == FOREVER)


def wanted_filters(tenant: Tenant) -> frozenset[RouteFilter]:
    """What the tenant's routes ask for."""
    return frozenset(RouteFilter(route.name, tenant.key, route.source) for route in tenant.routes.values())


# ── The message ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """since, until: null is the message's own sequence, which nobody knows before it is stored."""

    route: str
    key: str
    table: str
    operations: tuple[str, ...]
    since: int | None
    until: int | msgspec.UnsetType | None = msgspec.UNSET
    tenant_any: bool = False


class _Message(msgspec.Struct, frozen=True):
    v: int
    tenant: str
    revision: int
    routes: tuple[_Span, ...]


_decoder = msgspec.json.Decoder(_Message)


def next_routes(before: TenantRoutes | None, tenant: Tenant, passed: int) -> bytes | None:
    """The message that puts the tenant's routes into force, or None where they are already.

    before: what the last message says; passed: the sequence that every router shard is past, so that spans which
    ended there are forgotten.
    """
    wanted = wanted_filters(tenant)
    held = before.in_force if before else frozenset()
    if held == wanted:
        return None
    spans = list(_carried_on(before.spans, wanted, passed)) if before else []
    spans += [_span(new, since=None) for new in sorted(wanted - held, key=lambda new: new.route)]
    return msgspec.json.encode(_Message(1, tenant.name, tenant.revision, tuple(spans)))


def _carried_on(spans: Iterable[RouteSpan], wanted: frozenset[RouteFilter], passed: int) -> Iterator[_Span]:
    for span in spans:
        if span.until != FOREVER:
            if span.until > passed:
                yield _span(span.filter, since=span.since, until=span.until)
        elif span.filter in wanted:
            yield _span(span.filter, since=span.since)
        else:
            yield _span(span.filter, since=span.since, until=None)


def _span(
    filter_: RouteFilter, *, since: int | None, until: int | msgspec.UnsetType | None = msgspec.UNSET
) -> _Span:
    source = filter_.source
    return _Span(filter_.route, filter_.key, source.table, source.operations, since, until, source.tenant_any)


def read_routes(seq: int, payload: bytes) -> TenantRoutes:
    """The message stored at `seq`. Raises RoutingInvalid."""
    try:
        message = _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise RoutingInvalid(
            f"the routing message at sequence {seq} of EVENTS cannot be read: {error}"
        ) from None
    if message.v != 1:
        raise RoutingInvalid(
            f"the routing message at sequence {seq} of EVENTS is of a newer version: {message.v}"
        )
    return TenantRoutes(
        message.tenant, message.revision, tuple(_resolved(span, seq) for span in message.routes)
    )


def _resolved(span: _Span, seq: int) -> RouteSpan:
    source = RouteSource(span.table, span.operations, span.tenant_any)
    since = seq if span.since is None else span.since
    until = FOREVER if span.until is msgspec.UNSET else seq if span.until is None else span.until
    return RouteSpan(RouteFilter(span.route, span.key, source), since, until)


# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────────

_Address = tuple[str, str, str, str]
"""Tokens of an event's subject: tenant, schema, table, op."""


class RoutingTable:
    """Which routes an event goes to, by the tokens of its subject alone."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantRoutes] = {}
        self._spans: dict[_Address, dict[str, list[RouteSpan]]] = {}

    @property
    def tenants(self) -> Mapping[str, TenantRoutes]:
        """Every tenant's spans, by name."""
        return self._tenants

    def put(self, seq: int, payload: bytes) -> TenantRoutes:
        """Reads the message `routes.<tenant>` stored at `seq`, in place of the tenant's last one.

        Raises RoutingInvalid, and then holds what it held.
        """
        routes = read_routes(seq, payload)
        if (before := self._tenants.get(routes.tenant)) is not None:
            self._forget(before)
        self._tenants[routes.tenant] = routes
        for span in routes.spans:
            for address in _addresses(span.filter):
                self._spans.setdefault(address, {}).setdefault(routes.tenant, []).append(span)
        return routes

    def targets(self, seq: int, event: EventSubject) -> list[tuple[str, str]]:
        """(tenant, route) names that the event stored at `seq` goes to, in order."""
        found = self._spans.get((event.tenant, event.schema, event.table, event.op))
        if found is None:
            return []
        return sorted(
            (tenant, span.filter.route)
            for tenant, spans in found.items()
            for span in spans
            if span.since < seq <= span.until
        )

    def named(self, seq: int, event: EventSubject, target: tuple[str, str]) -> list[tuple[str, str]]:
        """The target alone, where its route holds for the table and tenant, whatever its operations; else nothing."""
        tenant, route = target
        routes = self._tenants.get(tenant)
        spans = () if routes is None else routes.spans
        address = (event.tenant, event.schema, event.table, event.op)
        holds = any(
            span.filter.route == route
            and span.since < seq <= span.until
            and address in _addresses(span.filter, operations=(event.op,))
            for span in spans
        )
        return [target] if holds else []

    def _forget(self, routes: TenantRoutes) -> None:
        for address in {address for span in routes.spans for address in _addresses(span.filter)}:
            tenants = self._spans[address]
            del tenants[routes.tenant]
            if not tenants:
                del self._spans[address]


def _addresses(filter_: RouteFilter, operations: Sequence[str] | None = None) -> Iterator[_Address]:
    """`operations`: in place of the filter's own."""
    schema, _, table = filter_.source.table.partition(".")
    tokens = [tenant_token(filter_.key)]
    if filter_.source.tenant_any:
        tokens += [NO_TENANT, UNKNOWN_TENANT]
    for token in tokens:
        for op in operations or filter_.source.operations:
            yield token, escape(schema), escape(table), op
