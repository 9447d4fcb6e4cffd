"""A real server's changes through a plugin's decoder, read with SQL functions in place of a replication connection."""

import secrets
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.catalogue import Catalogue
from cdc.catalogue_facts import FactsWanted
from cdc.decoder import Decoder
from cdc.event_assembly import Origin
from cdc.named_facts import TableWanted
from cdc.settings import TableSettings
from cdc.streamed_transactions import StreamedCommit
from cdc.wal2json import OPTIONS
from cdc.wal2json_decoder import Wal2jsonDecoder
from eventbus.event import decode_event
from eventbus.group_commit import Outgoing
from eventbus.subjects import Subjects
from tests.cdc.cases.case import Case
from tests.cdc.pgoutput_stream import NOTHING_YET, frame, kept

# as the replication connection pins them
SESSION = (
    "-c datestyle=ISO -c intervalstyle=iso_8601 -c bytea_output=hex -c extra_float_digits=1 -c timezone=UTC"
)


class SlotReader:
    """Takes what a slot has, as the source `shop` whose publication is given.

    plugin: `pgoutput streamed` is pgoutput by a server that sends every change at once, before its commit (from 16 on).
    """

    def __init__(self, dsn: str, plugin: str, slot: str) -> None:
        self._dsn = dsn
        self._plugin, _, streamed = plugin.partition(" ")
        self._streamed = bool(streamed)
        self._slot = slot

    async def make(self, connection: psycopg.AsyncConnection[Any]) -> None:
        slot = "SELECT pg_create_logical_replication_slot(%s, %s)"
        await connection.execute(slot, [self._slot, self._plugin])

    async def skip(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", [self._slot])

    async def messages(
        self,
        connection: psycopg.AsyncConnection[Any],
        publication: str,
        tables: Mapping[str, TableSettings],
    ) -> list[Outgoing]:
        """Of everything committed since the last call."""
        options = (
            {"proto_version": "1", "publication_names": publication, "messages": "true"}
            if self._plugin == "pgoutput"
            else dict(OPTIONS)
        )
        if self._streamed:
            options |= {"proto_version": "2", "streaming": "on"}
            await connection.execute("SET debug_logical_replication_streaming = 'immediate'")
        listed = ", ".join(f"'{name}', '{value}'" for name, value in options.items())
        sent = await connection.execute(
            "SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_get_binary_changes"
            f"('{self._slot}', NULL, NULL, {listed})".encode()
        )
        frames = [frame(payload, lsn) for lsn, payload in await sent.fetchall()]
        origin = Origin("shop", "shop_db", 1, Subjects())
        decoder = Decoder if self._plugin == "pgoutput" else Wal2jsonDecoder
        return await self._decoded(decoder(origin, tables, NOTHING_YET), iter(frames))

    async def _decoded(self, stream: Decoder | Wal2jsonDecoder, frames: Iterator[bytes]) -> list[Outgoing]:
        catalogue = await Catalogue.open(self._dsn)
        streamed = 0
        try:
            while (asked := stream.feed(frames)) is not None:
                if isinstance(asked, StreamedCommit):
                    streamed += 1
                    frames = chain([asked.begin, *kept(asked.transaction), asked.commit], frames)
                elif isinstance(stream, Wal2jsonDecoder) and isinstance(asked, TableWanted):
                    stream.learn(await catalogue.named_facts(asked))
                elif isinstance(stream, Decoder) and isinstance(asked, FactsWanted):
                    stream.learn(await catalogue.facts(asked))
        finally:
            await catalogue.close()
        messages = [message for group in stream.take() for message in group.messages]
        assert not self._streamed or streamed or not messages
        return messages


class CaseDatabase:
    """One database for the cases of a server, and in it a slot of a plugin."""

    def __init__(self, server: EmbeddedPostgres, plugin: str) -> None:
        self._server = server
        self._dsn = make_conninfo(server.dsn("cases"), options=SESSION)
        self._slot = f"cases_{plugin.replace(' ', '_')}"
        self._reader = SlotReader(self._dsn, plugin, self._slot)

    async def prepare(self) -> None:
        """Creates what is missing: the server may have been prepared for another plugin."""
        async with await psycopg.AsyncConnection.connect(self._server.dsn(), autocommit=True) as admin:
            if not await (await admin.execute("SELECT FROM pg_database WHERE datname = 'cases'")).fetchall():
                await admin.execute("CREATE DATABASE cases TEMPLATE template0")
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            slot = "SELECT FROM pg_replication_slots WHERE slot_name = %s"
            if not await (await connection.execute(slot, [self._slot])).fetchall():
                await self._reader.make(connection)

    async def events(self, case: Case) -> list[dict[str, Any]]:
        """All events that the case's changes make. Skips where the server lacks what the case needs."""
        schema = f"case_{secrets.token_hex(4)}"
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            await _provide(connection, case.needs)
            await connection.execute(f"CREATE SCHEMA {schema}".encode())
            await connection.execute(f"SET search_path = {schema}, public".encode())
            try:
                return await self._events(connection, case, schema)
            finally:
                await connection.execute("ROLLBACK")
                await connection.execute(f"DROP PUBLICATION IF EXISTS {schema}".encode())
                await connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())

    async def _events(
        self, connection: psycopg.AsyncConnection[Any], case: Case, schema: str
    ) -> list[dict[str, Any]]:
        for statement in case.before:
            await connection.execute(statement.encode())
        publication = (
            f"CREATE PUBLICATION {schema} FOR {case.publication} WITH (publish_via_partition_root = true)"
        )
        await connection.execute(publication.encode())
        await self._reader.skip(connection)
        for statement in case.changes:
            await connection.execute(statement.replace("{schema}", schema).encode())
        tables = {f"{schema}.{name}": settings for name, settings in case.tables.items()}
        messages = await self._reader.messages(connection, schema, tables)
        return [decode_event(message.payload) for message in messages]


async def _provide(connection: psycopg.AsyncConnection[Any], needs: str) -> None:
    """`version N`, `libxml` or an extension's name."""
    version = connection.info.server_version // 10_000
    if needs.startswith("version "):
        if version < int(needs.removeprefix("version ")):
            pytest.skip(f"not in version {version}")
    elif needs:
        there = "SELECT FROM pg_config() WHERE setting LIKE '%%--with-libxml%%' AND %s = 'libxml' UNION ALL "
        there += "SELECT FROM pg_available_extensions WHERE name = %s"
        found = await connection.execute(there.encode(), [needs, needs])
        if not await found.fetchall():
            pytest.skip(f"this installation of version {version} comes without {needs}")
        if needs != "libxml":
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {needs} SCHEMA public".encode())
