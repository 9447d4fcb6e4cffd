"""What is captured: one source of bridge.yaml, read and checked (`bridge.settings` fills it)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventbus.event import encode_json

PGOUTPUT, WAL2JSON = "pgoutput", "wal2json"
"""The plugins that a slot of ours can have."""


@dataclass(frozen=True, slots=True)
class TableSettings:
    """One captured table. tenant_column: the source's default already put in; None: a table without a tenant.

    key: columns that identify a row where the primary key should not; exclude: columns that never leave the server.
    """

    tenant_column: str | None = None
    key: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source. `tables` by `schema.table`, split at the first dot.

    read_dsn: for backfill and enrichment, None: `dsn`; streaming: large transactions are sent before they commit;
    wal_limit: bytes of WAL held beyond which we warn; heartbeat: seconds between two; outbox: a table of ours,
    `schema.table`, whose inserted rows become messages.
    """

    name: str
    dsn: str = field(repr=False)
    tables: Mapping[str, TableSettings]
    slot: str = "bridge"
    publication: str = "bridge"
    plugin: str = PGOUTPUT
    read_dsn: str | None = field(default=None, repr=False)
    streaming: bool = True
    wal_limit: int | None = None
    heartbeat: float = 10.0
    outbox: str | None = None


def split_table(name: str) -> tuple[str, str]:
    """`"public.work_orders"` as schema and table. Raises ValueError."""
    schema, dot, table = name.partition(".")
    if not (dot and schema and table):
        raise ValueError(
            f"not a table's name: {name!r}; write schema.table, such as public.{name.strip('.')}"
        )
    return schema, table


def tables_hash(source: SourceSettings) -> str:
    """16 hexadecimal digits that differ where the same WAL could make other events, or give them other ordinals."""
    tables = sorted(source.tables.items())
    content: list[object] = [[name, t.tenant_column, list(t.key), list(t.exclude)] for name, t in tables]
    if source.outbox is not None:
        content.append({"outbox": source.outbox})
    if source.plugin != PGOUTPUT:
        content.append({"plugin": source.plugin})
    return hashlib.sha256(encode_json(content)).hexdigest()[:16]
