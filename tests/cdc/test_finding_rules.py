"""What findings are made of, without a server: what cannot be run here, and that docs/dba.md has each of them."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc.commit_findings import matching_standby
from cdc.connection_findings import check_replication
from cdc.finding import Finding
from cdc.preflight import check
from cdc.providers import Provider, recognised
from cdc.server_facts import HbaRule, Replication, ServerFacts, Tried
from cdc.settings import SourceSettings, TableSettings
from cdc.source_facts import PublicationFacts, SlotState, SourceFacts, TableFacts

ROOT = Path(__file__).parents[2]
SETTINGS = SourceSettings("shop", "postgresql://reader@db/shop", {"public.orders": TableSettings()})
SERVER = ServerFacts(
    version=180000,
    provider=Provider.VANILLA,
    wal_level="logical",
    standby=False,
    wal_keep_mb=1000,
    idle_slot_timeout_s=0,
    free_slots=9,
    free_senders=9,
    free_connections=50,
    synchronous_commit="on",
    synchronous_standby_names="",
    encoding="UTF8",
    role="reader",
    superuser=False,
    may_replicate=True,
    connection_limit=10,
    session_pid=4711,
    announced_pid=4711,
    application_name="fracttal-bridge",
    any_server=False,
)
SLOT = SlotState(
    exists=True,
    plugin="pgoutput",
    database="shop",
    two_phase=False,
    active_pid=None,
    confirmed_flush=100,
    wal_status="reserved",
    invalidation=None,
    publication_oid=1,
    recorded={},
    wal_end=200,
    connected_to="shop",
    failover=True,
)
ORDERS = TableFacts(
    name="public.orders",
    kind="r",
    persistence="p",
    identity="d",
    listed=True,
    published=True,
    filtered=False,
    published_columns=None,
    columns={"id": True},
    generated={},
    primary_key=["id"],
    key_deferrable=False,
    identity_index=None,
    parent=None,
)
SENT = PublicationFacts(whole=False, missing_operations=[], via_root=True, generated=False)
FACTS = SourceFacts(SERVER, SLOT, SENT, {"public.orders": ORDERS}, ["public.orders"])


def found(facts: SourceFacts = FACTS, **server: Any) -> dict[str, Finding]:
    changed = dataclasses.replace(facts, server=dataclasses.replace(facts.server, **server))
    return {finding.code: finding for finding in check(changed, SETTINGS)}


def test_what_is_sound_has_no_findings() -> None:
    assert found() == {}


def test_a_server_that_is_too_old() -> None:
    findings = found(dataclasses.replace(FACTS, publication=None, tables={}), version=140010)
    assert {*findings} == {"server_version"}
    assert "is PostgreSQL 14; capture needs 15" in findings["server_version"].message


def test_a_pooler_is_known_by_the_process_numbers_that_it_makes_up() -> None:
    assert {*found(announced_pid=1234567)} == {"pooler"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("unsupported startup parameter: replication", "pooler"),
        ("server login has been failed, no such database (PgBouncer)", "pooler"),
        ('no pg_hba.conf entry for host "10.0.0.9", user "reader", database "shop", no encryption', "pg_hba"),
        ('pg_hba.conf rejects connection for host "10.0.0.9", user "reader"', "pg_hba"),
        ('number of requested standby connections exceeds "max_wal_senders"', "replication_refused"),
    ],
)
def test_why_a_replication_connection_is_refused(words: str, code: str) -> None:
    (finding,) = check_replication(Replication(words), SERVER, SLOT, "bridge")
    assert finding.code == code
    assert words in finding.message
    assert ("hostssl shop reader ADDRESS/32 scram-sha-256" in finding.sql) is (code == "pg_hba")


@pytest.mark.parametrize(
    ("slot", "code"),
    [
        (SLOT._replace(wal_status="lost"), "slot_invalidated"),
        (SLOT._replace(invalidation="idle_timeout"), "slot_invalidated"),
        (SLOT._replace(database="other"), "slot_database"),
    ],
)
def test_slots_that_are_lost_or_elsewhere(slot: SlotState, code: str) -> None:
    assert {*found(dataclasses.replace(FACTS, slot=slot))} == {code}


@pytest.mark.parametrize(
    ("names", "matching"),
    [
        ("", None),
        ("*", "*"),
        ("s1, s2", None),
        ("s1, *", "*"),
        ("FIRST 1 (s1, fracttal-bridge)", "fracttal-bridge"),
        ("first 2 (*)", "*"),
        ("ANY 1(s1,s2)", None),
        ("2 (s1, s2, *)", "*"),
        ('"Fracttal-Bridge"', '"Fracttal-Bridge"'),
        ('ANY 2 ("s 1", "fracttal-bridge")', '"fracttal-bridge"'),
        ('"*"', '"*"'),
        ('"fracttal""bridge"', None),
        ('"a, fracttal-bridge"', None),
    ],
)
def test_which_standby_names_mean_us(names: str, matching: str | None) -> None:
    assert matching_standby(names, "fracttal-bridge") == matching


@pytest.mark.parametrize(
    ("provider", "logical", "limit", "right"),
    [
        (
            Provider.VANILLA,
            "ALTER SYSTEM SET wal_level",
            "ALTER SYSTEM SET max_slot",
            "ALTER ROLE reader REPLICATION",
        ),
        (
            Provider.RDS,
            "rds.logical_replication = 1",
            "in the DB parameter group",
            "GRANT rds_replication TO reader",
        ),
        (
            Provider.CLOUDSQL,
            "cloudsql.logical_decoding = on",
            "as a database flag",
            "ALTER ROLE reader REPLICATION",
        ),
        (
            Provider.AZURE,
            "azure.replication_support",
            "among the server parameters",
            "ALTER ROLE reader REPLICATION",
        ),
    ],
)
def test_the_remedy_is_the_providers_own(provider: Provider, logical: str, limit: str, right: str) -> None:
    findings = found(provider=provider, wal_level="replica", wal_keep_mb=-1, may_replicate=False)
    assert logical in findings["wal_level"].sql
    assert limit in findings["wal_keep_unbounded"].sql
    assert findings["rights_missing"].sql.startswith(right)
    assert ("ALTER SYSTEM" in findings["wal_level"].sql) is (provider is Provider.VANILLA)


def test_providers_are_known_by_their_administrators_role() -> None:
    assert recognised(["rds_superuser"]) is Provider.RDS
    assert recognised([]) is Provider.VANILLA


@pytest.mark.parametrize(
    ("address", "netmask", "method", "told"),
    [
        ("0.0.0.0", "0.0.0.0", "scram-sha-256", True),
        ("::", "::", "scram-sha-256", True),
        ("all", None, "trust", True),
        ("all", None, "reject", False),
        ("10.0.0.9", "255.255.255.255", "scram-sha-256", False),
    ],
)
def test_a_pg_hba_line_that_is_too_wide(
    address: str, netmask: str | None, method: str, *, told: bool
) -> None:
    rule = HbaRule(7, "hostssl", ["all"], ["reader"], address, netmask, method, None)
    tried = Tried(Replication(None, 15.0), [rule], [], {}, None)
    findings = found(dataclasses.replace(FACTS, tried=tried))
    assert {*findings} == ({"pg_hba"} if told else set())


def test_wal2json_does_not_convert_text() -> None:
    server = dataclasses.replace(FACTS.server, encoding="LATIN1")
    settings = dataclasses.replace(SETTINGS, plugin="wal2json")
    findings = {
        finding.code: finding for finding in check(dataclasses.replace(FACTS, server=server), settings)
    }
    assert findings["wal2json_encoding"].stops


# --- docs/dba.md


def _codes_in(module: Path) -> Iterator[str]:
    """The second argument of each Finding; where it is a loop's variable, the first of each of the loop's tuples."""
    tree = ast.parse(module.read_text())
    loops = {
        loop.target.elts[0].id: loop.iter.elts
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For)
        and isinstance(loop.target, ast.Tuple)
        and isinstance(loop.target.elts[0], ast.Name)
        and isinstance(loop.iter, ast.Tuple)
    }
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding":
            code = call.args[1]
            named = loops[code.id] if isinstance(code, ast.Name) else [code]
            for node in named:
                yield from (
                    part.value
                    for part in ast.walk(node.elts[0] if isinstance(node, ast.Tuple) else node)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )


def _codes() -> set[str]:
    return {code for module in (ROOT / "cdc").glob("*.py") for code in _codes_in(module)}


def test_every_code_is_documented_and_no_other() -> None:
    section = (
        (ROOT / "docs" / "dba.md").read_text().partition("## `bridge cdc check`")[2].partition("\n## ")[0]
    )
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {code for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row)} == _codes()


def test_every_code_is_seen_in_a_test() -> None:
    texts = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert {code for code in _codes() if f'"{code}"' not in texts} == set()
