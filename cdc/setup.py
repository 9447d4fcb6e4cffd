"""`bridge cdc setup` and the SQL it prints: outbox, publication, role and slot, as migrations/ makes them.

Each script is idempotent and says what should be, so that running it again mends what differs and changes nothing
else. The publication's comment records what was made, with the slot's first LSN (rule C1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from cdc.lock_patience import LockHeld, Patience, patiently
from cdc.providers import ADMIN_ROLES, ADMINISTRATORS, Provider, recognised
from cdc.settings import SourceSettings, split_table
from cdc.source_dsn import ordinary, user_and_password
from cdc.source_errors import SourceLost, first_line
from eventbus.event import encode_json

OWNER = "the owner of the tables"
OUTBOX = "bridge.outbox"
"""Where the outbox is, unless `outbox` of the source says otherwise."""

_OUTBOX = "0004_outbox"
_OWNERS = (_OUTBOX, "0001_publication")
_ROLE = "0002_role"
_ADMINISTRATORS = (_ROLE, "0003_slot")
# in the order in which they run: the outbox before the publication that sends it, the publication before the slot
ORDER = (*_OWNERS, *_ADMINISTRATORS)


class SetupRefused(Exception):
    """The server refused a script: who has to run it, or what stands in its way."""


@dataclass(frozen=True, slots=True)
class Script:
    """One migration with this source's names in it. name: its file's; holder: who has the rights to run it."""

    name: str
    holder: str
    text: str


def scripts(
    settings: SourceSettings,
    migrations: Path,
    provider: Provider = Provider.VANILLA,
    patience: Patience = Patience(),  # noqa: B008 — frozen
) -> list[Script]:
    """In the order in which they are to run. They hold no password."""
    schema, outbox = split_table(settings.outbox or OUTBOX)
    names = {
        "publication": sql.Literal(settings.publication),
        "slot": sql.Literal(settings.slot),
        "plugin": sql.Literal(settings.plugin),
        "role": sql.Literal(role_of(settings)),
        "tables": sql.Literal(_tables_json(settings)),
        "provider": sql.Literal(provider.value),
        "schema": sql.Literal(schema),
        "table": sql.Literal(outbox),
        "schema_name": sql.Identifier(schema),
        "table_name": sql.Identifier(schema, outbox),
        "lock_timeout": sql.Literal(patience.lock_timeout),
        "slot_lock_timeout": sql.Literal(patience.slot_lock_timeout),
    }
    found = []
    for name in ORDER:
        if name == _OUTBOX and settings.outbox is None:
            continue
        template = sql.SQL((migrations / f"{name}.sql").read_text(encoding="utf-8"))
        holder = OWNER if name in _OWNERS else ADMINISTRATORS[provider]
        found.append(Script(name, holder, template.format(**names).as_string(None)))
    return found


def printed(scripts: Sequence[Script]) -> dict[str, str]:
    """One psql script per privilege holder, to be run in this order."""
    whole: dict[str, str] = {}
    for script in scripts:
        whole[script.holder] = whole.get(script.holder, "\\set ON_ERROR_STOP on\n") + "\n" + script.text
    return whole


async def set_up(
    settings: SourceSettings,
    admin_dsn: str | None,
    migrations: Path,
    provider: Provider | None = None,
    patience: Patience = Patience(),  # noqa: B008 — frozen
) -> None:
    """Runs the scripts, with the source's own DSN where no other is given. provider: None: it is recognised.

    Raises SetupRefused, SourceLost.
    """
    conninfo = ordinary(admin_dsn or settings.dsn)
    async with await _connect(conninfo) as connection, await _connect(conninfo) as watcher:
        found = provider or await _recognise(connection)
        new_role = not await _role_exists(connection, role_of(settings))
        for script in scripts(settings, migrations, found, patience):
            await _run(connection, watcher, script, patience)
            if script.name == _ROLE and new_role:
                await _give_password(connection, settings)


async def _connect(conninfo: str) -> AsyncConnection[tuple[Any, ...]]:
    try:
        return await AsyncConnection.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None


async def _run(
    connection: AsyncConnection[tuple[Any, ...]],
    watcher: AsyncConnection[tuple[Any, ...]],
    script: Script,
    patience: Patience,
) -> None:
    try:
        await patiently(
            connection, watcher, lambda: connection.execute(script.text.encode()), script.name, patience
        )
    except LockHeld as held:
        raise SetupRefused(
            f"{held}. Nothing was changed by this script: end that transaction, or wait for it, and run setup again"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        if "output plugin" in str(error):
            raise SetupRefused(f"{script.name}: {first_line(str(error))}{_hint(error)}") from None
        raise SetupRefused(
            f"{script.name}: {first_line(str(error))}; it takes {script.holder}: pass --admin-dsn, or give them what "
            f"--print-sql prints{_hint(error)}"
        ) from None
    except psycopg.errors.UndefinedFile as error:
        raise SetupRefused(
            f"{script.name}: {first_line(str(error))}: the server lacks the plugin that bridge.yaml names; install its package "
            "there, such as Debian's postgresql-15-wal2json, or use `plugin: pgoutput`, which every server has"
        ) from None
    except psycopg.OperationalError as error:
        raise SourceLost(f"PostgreSQL: {script.name}: {first_line(str(error))}") from None
    except psycopg.Error as error:
        raise SetupRefused(f"{script.name}: {first_line(str(error))}{_hint(error)}") from None


def _hint(error: psycopg.Error) -> str:
    return f". {error.diag.message_hint}" if error.diag.message_hint else ""


async def _recognise(connection: AsyncConnection[tuple[Any, ...]]) -> Provider:
    cursor = await connection.execute(
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)", [list(ADMIN_ROLES)]
    )
    return recognised([name for (name,) in await cursor.fetchall()])


async def _role_exists(connection: AsyncConnection[tuple[Any, ...]], role: str) -> bool:
    cursor = await connection.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", [role])
    return await cursor.fetchone() is not None


async def _give_password(connection: AsyncConnection[tuple[Any, ...]], settings: SourceSettings) -> None:
    """The password of the source's DSN for the role that was just made: hashed here, so no log can hold it."""
    role, password = role_of(settings), user_and_password(settings.dsn)[1]
    if password is None:
        return
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    command = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    await connection.execute(command)


def role_of(settings: SourceSettings) -> str:
    """The role that the source's DSN logs in as."""
    return user_and_password(settings.dsn)[0] or "bridge"


def _tables_json(settings: SourceSettings) -> str:
    wanted = {name: list(table.exclude) for name, table in settings.tables.items()}
    if settings.outbox is not None:
        wanted.setdefault(settings.outbox, [])
    tables = []
    for name, exclude in sorted(wanted.items()):
        schema, relation = split_table(name)
        tables.append({"schema": schema, "table": relation, "exclude": exclude})
    return encode_json(tables).decode()
