"""What `bridge cdc check` finds about a source, and how a finding looks."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from cdc.catalogue import Catalogue
from cdc.connection_probe import tried
from cdc.finding import Finding
from cdc.preflight import check
from cdc.settings import SourceSettings
from cdc.source_facts import SourceFacts
from cdc.source_reading import read_facts
from tests.cdc.capturing import Source


async def facts_of(settings: SourceSettings) -> SourceFacts:
    catalogue = await Catalogue.open(settings.dsn)
    try:
        facts = await read_facts(catalogue, settings)
        return dataclasses.replace(facts, tried=await tried(catalogue, settings))
    finally:
        await catalogue.close()


async def findings_of(
    settings: SourceSettings, compared: Mapping[str, Collection[str]] | None = None, **changes: Any
) -> dict[str, Finding]:
    """By code. Each line of SQL must tell its lock and WAL, errors come first."""
    settings = dataclasses.replace(settings, **changes)
    found = check(await facts_of(settings), settings, compared)
    assert [finding.level for finding in found] == sorted(finding.level for finding in found)
    for finding in found:
        assert all("--" in line for line in finding.sql.splitlines() if "pg_reload_conf" not in line), finding
    return {finding.code: finding for finding in found}


async def found(source: Source, **changes: Any) -> dict[str, Finding]:
    return await findings_of(source.settings, **changes)


async def one(source: Source, code: str, **changes: Any) -> Finding:
    """The only finding."""
    findings = await found(source, **changes)
    assert {*findings} == {code}
    return findings[code]
