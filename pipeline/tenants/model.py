"""A tenant as it is in force: its key, connections, routes, and the texts of the mappings they use.

Frozen and complete: a version in the bucket `TENANTS` is exactly this, so that an upgrade changes nothing by
itself. Durations are in seconds, sizes in bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

import msgspec

from connectors.auth.kinds import leaves
from pipeline.mapping_text import MappingText

SECRET_REFERENCE = re.compile(r"\$\{secret:([^{}]*)\}")
PLACEHOLDER = re.compile(r"\$\{[^{}]*\}")
"""What bridge.yaml would replace, and tenant.yaml does not."""
"""How a connection's `auth` names a secret: a whole value is `${secret:NAME}`."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens; after `open_s` one probe is let through.

    failures: so many in a row within `window_s`; ratio: or this share, from 0 to 1, of the last requests within
    `window_s`, if they were at least `requests`.
    """

    failures: int = 10
    window_s: float = 60.0
    open_s: float = 30.0
    ratio: float = 0.5
    requests: int = 20


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempt n waits initial_s * factor ** (n - 1), at most max_s, plus or minus the share `jitter`."""

    max_attempts: int = 8
    initial_s: float = 2.0
    factor: float = 3.0
    max_s: float = 3600.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class Connection:
    """An endpoint of the tenant. auth, tls: as written, `${secret:NAME}` not resolved.

    rate_limit: requests a second; None: no limit. options: what only this connector kind knows. files: the texts of the
    tenant's files that those name, by their paths below its folder, as workers never see that.
    """

    name: str
    connector: str
    base_url: str
    auth: Mapping[str, Any] = field(default_factory=dict)
    tls: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 30.0
    concurrency: int = 4
    rate_limit: float | None = None
    breaker: BreakerPolicy = BreakerPolicy()
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteSource:
    """Which events a route gets: its mapping's `source`, resolved at `apply`, when the router's table is made of it.

    table: `schema.table`; tenant_any: also events without a tenant (tokens `_` and `~`).
    """

    table: str
    operations: tuple[str, ...] = ("insert", "update")
    tenant_any: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Which mapping goes to which connection. deadline_s: None: as `streams.deliveries.deadline` says.

    on_dead_letter: with `block` its key's later events wait until somebody has dealt with the dead letter.
    orders: its mapping has an `ordering`, to be asked of each delivery that arrives.
    """

    name: str
    source: RouteSource
    mapping: str
    connection: str
    params: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = RetryPolicy()
    deadline_s: float | None = None
    on_dead_letter: Literal["continue", "block"] = "continue"
    orders: bool = False


@dataclass(frozen=True, slots=True)
class Tenant:
    """One version of a tenant. mappings: by the names routes use; lookups: the texts of its CSV files, by name.

    written: the text of tenant.yaml, for `bridge tenant pull`. revision: that of the bucket's key; 0 while it is only a
    folder. It is not part of the version itself.
    """

    name: str
    key: str
    timezone: str = "UTC"
    connections: Mapping[str, Connection] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    mappings: Mapping[str, MappingText] = field(default_factory=dict)
    lookups: Mapping[str, str] = field(default_factory=dict)
    written: str = ""
    revision: int = 0


_decoder = msgspec.json.Decoder(Tenant, float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_sorting_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")


def encode_tenant(tenant: Tenant) -> bytes:
    """The version as JSON."""
    return _encoder.encode(replace(tenant, revision=0))


def decode_tenant(payload: bytes, revision: int) -> Tenant:
    """A version of the bucket. Raises msgspec.DecodeError where it is none."""
    return replace(_decoder.decode(payload), revision=revision)


def secrets_of(tenant: Tenant) -> list[str]:
    """The names of the secrets that its connections name."""
    sections = (one for of in tenant.connections.values() for one in (of.auth, of.tls))
    return sorted({name for section in sections for _, name in references(section)})


def references(section: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The members of a connection's `auth` or `tls` that are secrets: their dotted paths, and how these are called."""
    found = (
        (path, SECRET_REFERENCE.fullmatch(value)) for path, value in leaves(section) if isinstance(value, str)
    )
    return [(".".join(path), reference[1]) for path, reference in found if reference]


def same_version(one: Tenant, other: Tenant) -> bool:
    """Whether both say the same, whatever their revisions. `1` and `1.0` differ.

    Comments of tenant.yaml say nothing, nor does it matter whether a mapping's text is shipped or the tenant's own.
    """
    return said(one) == said(other)


def said(tenant: Tenant) -> bytes:
    """What `same_version` compares."""
    texts = {name: mapping.said for name, mapping in tenant.mappings.items()}
    return _sorting_encoder.encode(replace(tenant, mappings=texts, written="", revision=0))
