"""`bridge cdc setup` and the SQL it prints: publication, role and slot, as migrations/ makes them.

Each script is idempotent and says what should be, so that running it again mends what differs and changes nothing
else. The publication's comment records what was made, with the slot's first LSN (rule C1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql

from cdc.settings import SourceSettings, split_table
from cdc.source_dsn import ordinary, user_and_password
from cdc.source_errors import SourceLost, first_line
from eventbus.event import encode_json

OWNER = "the owner of the tables"
SUPERUSER = "a superuser"
_HOLDERS = {"0001_publication": OWNER, "0002_role": SUPERUSER, "0003_slot": SUPERUSER}


class SetupRefused(Exception):
    """The server refused a script: who has to run it, or what stands in its way."""


@dataclass(frozen=True, slots=True)
class Script:
    """One migration with this source's names in it. name: its file's; holder: who has the rights to run it."""

    name: str
    holder: str
    text: str


def scripts(settings: SourceSettings, migrations: Path) -> list[Script]:
    """In the order in which they are to run. They hold no password."""
    names = {
        "publication": sql.Literal(settings.publication),
        "slot": sql.Literal(settings.slot),
        "role": sql.Literal(role_of(settings)),
        "tables": sql.Literal(_tables_json(settings)),
    }
    found = []
    for file in sorted(migrations.glob("*.sql")):
        template = sql.SQL(file.read_text(encoding="utf-8"))
        found.append(Script(file.stem, _HOLDERS[file.stem], template.format(**names).as_string(None)))
    return found


def printed(scripts: Sequence[Script]) -> dict[str, str]:
    """One psql script per privilege holder, to be run in this order."""
    whole: dict[str, str] = {}
    for script in scripts:
        whole[script.holder] = whole.get(script.holder, "\\set ON_ERROR_STOP on\n") + "\n" + script.text
    return whole


async def set_up(settings: SourceSettings, admin_dsn: str | None, migrations: Path) -> None:
    """Runs the scripts, with the source's own DSN where no other is given. Raises SetupRefused, SourceLost."""
    conninfo = ordinary(admin_dsn or settings.dsn)
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        raise SourceLost(f"PostgreSQL: {first_line(str(error))}", refused=True) from None
    async with connection:
        new_role = not await _role_exists(connection, role_of(settings))
        for script in scripts(settings, migrations):
            await _run(connection, script)
        if new_role:
            await _give_password(connection, settings)


async def _run(connection: AsyncConnection[tuple[object, ...]], script: Script) -> None:
    try:
        await connection.execute(script.text.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise SetupRefused(
            f"{script.name}: {first_line(str(error))}; it takes {script.holder}: pass --admin-dsn, or give them what "
            "--print-sql prints"
        ) from None
    except psycopg.errors.LockNotAvailable as error:
        raise SetupRefused(
            f"{script.name}: {first_line(str(error))}: a transaction that is open holds it up (pg_stat_activity, "
            "oldest xact_start); nothing was changed by this script, run setup again"
        ) from None
    except psycopg.OperationalError as error:
        raise SourceLost(f"PostgreSQL: {script.name}: {first_line(str(error))}") from None
    except psycopg.Error as error:
        hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
        raise SetupRefused(f"{script.name}: {first_line(str(error))}.{hint}") from None


async def _role_exists(connection: AsyncConnection[tuple[object, ...]], role: str) -> bool:
    cursor = await connection.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", [role])
    return await cursor.fetchone() is not None


async def _give_password(connection: AsyncConnection[tuple[object, ...]], settings: SourceSettings) -> None:
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
    tables = []
    for name, table in sorted(settings.tables.items()):
        schema, relation = split_table(name)
        tables.append({"schema": schema, "table": relation, "exclude": list(table.exclude)})
    return encode_json(tables).decode()
