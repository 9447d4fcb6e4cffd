"""The ordinary connection beside the stream: the slot as the server sees it, and facts about relations and types."""

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row, tuple_row

from cdc.catalogue_facts import KEY_COLUMNS_SQL, NAMES_SQL, TYPES_SQL, Facts, FactsWanted
from cdc.named_facts import TABLE_SQL, ColumnFacts, NamedFacts, TableWanted
from cdc.source_dsn import ordinary
from cdc.source_errors import SourceLost, first_line, source_errors
from cdc.source_facts import SlotState
from eventbus.lsn import parse_lsn

_SLOT = """
SELECT to_jsonb(s) AS slot,
       (SELECT p.oid::bigint FROM pg_catalog.pg_publication p WHERE p.pubname = %(publication)s) AS publication_oid,
       (SELECT pg_catalog.obj_description(p.oid, 'pg_publication')
          FROM pg_catalog.pg_publication p WHERE p.pubname = %(publication)s) AS comment,
       pg_catalog.pg_is_in_recovery() AS standby,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
            ELSE pg_catalog.pg_current_wal_flush_lsn()::text END AS wal_end,
       pg_catalog.current_database()::text AS database
  FROM (SELECT) AS nothing LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = %(slot)s
"""

_SENT = """
SELECT schemaname || '.' || tablename AS name FROM pg_catalog.pg_publication_tables WHERE pubname = %(publication)s
"""


_SENDER = """
SELECT state, sent_lsn::text AS sent, (now() - reply_time)::text AS since_reply,
       (SELECT coalesce(a.wait_event_type || ' ' || a.wait_event, a.state)
          FROM pg_catalog.pg_stat_activity a WHERE a.pid = r.pid) AS waits_for
  FROM pg_catalog.pg_stat_replication r WHERE pid = %(pid)s
"""
# flush: without it the record waits for the WAL writer's next round, about 0.1 s
_EMIT = "SELECT pg_catalog.pg_logical_emit_message(false, %(prefix)s, %(content)s::bytea{flush})::text AS lsn"
_FLUSH_SINCE = 170000


class EmitRefused(Exception):
    """The server did not take a message of ours, and the session goes on."""


class Catalogue:
    """An ordinary session with the source."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """Raises SourceLost (`refused`), DsnInvalid."""
        try:
            connection = await AsyncConnection.connect(ordinary(dsn), autocommit=True, row_factory=dict_row)
            # it idles for days between two relations
            await connection.execute("SET idle_session_timeout = 0")
        except psycopg.OperationalError as error:
            raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None
        return cls(connection)

    async def close(self) -> None:
        await self._connection.close()

    @property
    def announced_pid(self) -> int:
        """The backend that we were told to be connected to when we logged in."""
        return self._connection.info.backend_pid

    def hang_up(self) -> None:
        """Ends the session at once: whoever waits for its answer gets SourceLost."""
        # cancelling the query instead would ask the same server, which may be the one that is silent
        with socket.socket(fileno=os.dup(self._connection.pgconn.socket)) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    async def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[DictRow]:
        """A query of ours (never a user's text). Raises SourceLost."""
        with source_errors("reading the catalogue"):
            cursor = await self._connection.execute(query.encode(), parameters)
            return await cursor.fetchall()

    async def emit(self, prefix: str, content: bytes) -> int:
        """Writes a message outside transactions into the WAL; its LSN. Raises EmitRefused, SourceLost."""
        flush = ", true" if self._connection.info.server_version >= _FLUSH_SINCE else ""
        query = _EMIT.format(flush=flush).encode()
        try:
            cursor = await self._connection.execute(query, {"prefix": prefix, "content": content})
            row = await cursor.fetchone()
        except psycopg.Error as error:
            said = first_line(str(error))
            if self._connection.broken or self._connection.closed:
                raise SourceLost(f"PostgreSQL: writing a message into the WAL: {said}") from None
            raise EmitRefused(said) from None
        assert row is not None
        return parse_lsn(row["lsn"])

    async def sender(self, pid: int) -> str:
        """What the server says of a walsender, for people. Raises SourceLost."""
        rows = await self.rows(_SENDER, {"pid": pid})
        return ", ".join(f"{name} {value}" for name, value in rows[0].items()) if rows else "it is gone"

    async def facts(self, wanted: FactsWanted) -> Facts:
        """What the decoder asks for when it meets a relation. Raises SourceLost."""
        key, types = await self._tuples(KEY_COLUMNS_SQL, wanted.relation), []
        if wanted.types:
            types = await self._tuples(TYPES_SQL, list(wanted.types))
        facts = Facts.of_rows(key, types)
        if wanted.tables:
            asked = wanted.relation, list(wanted.tables)
            ((name, missing, partition),) = await self._tuples(NAMES_SQL, *asked, *asked)
            facts = replace(facts, name=name, missing=tuple(missing), partition=partition)
        return facts

    async def named_facts(self, wanted: TableWanted) -> NamedFacts:
        """The same for a table that is known by its name. Raises SourceLost."""
        ((oid, full, lineage, order, columns, identity, missing),) = await self._tuples(
            TABLE_SQL, wanted.schema, wanted.name, list(wanted.tables)
        )
        described = tuple(ColumnFacts(*column) for column in columns)
        types = {*wanted.types, *(column.type_oid for column in described)}
        of_ids = await self.facts(FactsWanted(oid or 0, tuple(types)))
        return NamedFacts(
            oid,
            bool(full),
            tuple(lineage),
            tuple(order),
            described,
            tuple(identity),
            tuple(missing),
            of_ids.key,
            of_ids.types,
        )

    async def _tuples(self, query: str, *parameters: object) -> list[Any]:
        with source_errors("reading the catalogue"):
            cursor = self._connection.cursor(row_factory=tuple_row)
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()

    async def unsent(self, publication: str, tables: Iterable[str]) -> set[str]:
        """Those of the tables that the publication does not send. Raises SourceLost."""
        rows = await self.rows(_SENT, {"publication": publication})
        return set(tables) - {row["name"] for row in rows}

    async def slot(self, slot: str, publication: str) -> SlotState:
        (row,) = await self.rows(_SLOT, {"slot": slot, "publication": publication})
        found = cast("dict[str, Any]", row["slot"] or {})
        return SlotState(
            exists=bool(found),
            plugin=found.get("plugin"),
            database=found.get("database"),
            two_phase=bool(found.get("two_phase")),
            active_pid=found.get("active_pid"),
            confirmed_flush=_lsn(found.get("confirmed_flush_lsn")),
            wal_status=found.get("wal_status"),
            invalidation=found.get("invalidation_reason"),
            publication_oid=row["publication_oid"],
            recorded=_recorded(row["comment"]),
            wal_end=_lsn(row["wal_end"]),
            connected_to=row["database"],
            restart=_lsn(found.get("restart_lsn")),
            safe_wal=found.get("safe_wal_size"),
            failover=found.get("failover"),
        )


def _lsn(text: str | None) -> int | None:
    return None if text is None else parse_lsn(text)


def _recorded(comment: str | None) -> dict[str, str]:
    """What `cdc.setup` wrote; a comment of somebody else's is nothing."""
    try:
        found = json.loads(comment or "")
    except ValueError:
        return {}
    if not isinstance(found, dict) or found.get("made_by") != "fracttal-bridge":
        return {}
    return {str(name): str(value) for name, value in found.items()}
