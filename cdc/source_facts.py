"""What the preflight knows of a source: slot, publication, tables. Pure; `source_reading` fills it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cdc.finding import identifier
from cdc.providers import Provider
from cdc.server_facts import ServerFacts, Tried
from cdc.settings import split_table
from eventbus.lsn import parse_lsn


class SlotState(NamedTuple):
    """A slot and its publication now. Members are None where there is nothing to say.

    recorded: what setup wrote into the publication's comment; wal_end: where the server's WAL ends; restart: from where
    on WAL is kept; safe_wal: bytes that may still be written before `max_slot_wal_keep_size` loses the slot; failover:
    from PostgreSQL 17 on.
    """

    exists: bool
    plugin: str | None
    database: str | None
    two_phase: bool
    active_pid: int | None
    confirmed_flush: int | None
    wal_status: str | None
    invalidation: str | None
    publication_oid: int | None
    recorded: Mapping[str, str]
    wal_end: int | None
    connected_to: str
    restart: int | None = None
    safe_wal: int | None = None
    failover: bool | None = None

    @property
    def held_wal(self) -> int | None:
        """Bytes of WAL that PostgreSQL keeps for it."""
        return _between(self.restart, self.wal_end)

    @property
    def unconfirmed(self) -> int | None:
        """Bytes of WAL that are not confirmed."""
        return _between(self.confirmed_flush, self.wal_end)

    @property
    def lost(self) -> bool:
        """It can never be read again."""
        return self.wal_status == "lost" or self.invalidation is not None

    def created_at(self, slot: str) -> int | None:
        """The slot's first LSN, where setup recorded it."""
        lsn = self.recorded.get("slot_lsn")
        return parse_lsn(lsn) if lsn and self.recorded.get("slot") == slot else None


def _between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else max(0, end - start)


class PublicationFacts(NamedTuple):
    """What a publication sends. generated: the stored generated columns too (PostgreSQL 18)."""

    whole: bool
    """FOR ALL TABLES, or FOR TABLES IN SCHEMA."""
    missing_operations: Sequence[str]
    via_root: bool
    generated: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table. kind, persistence, identity: pg_class's letters; columns: name → NOT NULL.

    listed: named by the publication; published: sent, by its name or with its schema or database; generated: name →
    pg_attribute's letter; key_deferrable: of the primary key; parent: whose partition it is; partitions: all below it,
    parents first.
    floating: the columns of types that know NaN.
    """

    name: str
    kind: str
    persistence: str
    identity: str
    listed: bool
    published: bool
    filtered: bool
    published_columns: Sequence[str] | None
    columns: Mapping[str, bool]
    generated: Mapping[str, str]
    primary_key: Sequence[str] | None
    key_deferrable: bool
    identity_index: Sequence[str] | None
    parent: str | None
    floating: Sequence[str] | None = None
    partitions: Sequence["TableFacts"] = ()

    @property
    def sql_name(self) -> str:
        """The name as SQL writes it."""
        return ".".join(identifier(part) for part in split_table(self.name))

    @property
    def partitioned(self) -> bool:
        return self.kind == "p"

    @property
    def identity_columns(self) -> Sequence[str]:
        """What an old row carries; empty: nothing, and then PostgreSQL refuses updates and deletes."""
        match self.identity:
            case "f":
                return list(self.columns)
            case "i":
                return self.identity_index or ()
            case "d":
                return () if self.key_deferrable else self.primary_key or ()
            case _:
                return ()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source as it is; `tables`: those that bridge.yaml names or the publication lists; `known`: all there are.

    publication: None where there is none; tried: None where only the catalogue was read.
    """

    server: ServerFacts
    slot: SlotState
    publication: PublicationFacts | None
    tables: Mapping[str, TableFacts]
    known: Sequence[str]
    tried: Tried | None = None

    def run_by(self, provider: Provider | None) -> "SourceFacts":
        """As somebody says who knows who runs the server; None: nobody did."""
        return self if provider is None else replace(self, server=replace(self.server, provider=provider))
