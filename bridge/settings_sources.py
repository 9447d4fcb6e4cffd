"""The section `sources` of bridge.yaml: what is captured, from where."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from bridge.environment import Environment
from cdc.settings import SourceSettings, TableSettings, split_table
from pipeline.problems import Problems, mapping_of, one_of, or_default
from pipeline.quantities import check_name, duration, size
from pipeline.yaml_nodes import Entry, MappingNode, Mark, Node, YamlError

_KEYS = (
    "dsn",
    "read_dsn",
    "plugin",
    "slot",
    "publication",
    "tenant_column",
    "tables",
    "streaming",
    "wal_limit",
    "heartbeat",
    "outbox",
)
_PLUGINS = ("pgoutput", "wal2json")
T = TypeVar("T")
_SLOT = re.compile(r"[a-z0-9_]{1,63}")


def sources(node: Node, environment: Environment) -> dict[str, SourceSettings]:
    """At least one source, no two on one slot.

    Raises:
        YamlError, ConfigurationInvalid: naming file, line and remedy.
    """
    found: dict[str, SourceSettings] = {}
    problems = Problems()
    for entry in node.as_mapping():
        source = problems.attempt(partial(_source, entry, environment), None)
        if source is not None:
            problems.attempt(partial(_check_slot_is_free, source, found, entry.mark), None)
            found[entry.key] = source
    problems.raise_any()
    if not found:
        raise node.error("sources: names no source; write a name with `dsn` and `tables` below it")
    return found


def _check_slot_is_free(source: SourceSettings, others: Mapping[str, SourceSettings], mark: Mark) -> None:
    for other in others.values():
        if (other.dsn, other.slot) == (source.dsn, source.slot):
            raise YamlError(
                mark,
                f"sources {other.name} and {source.name} read the same slot {source.slot!r}; a slot has one "
                "reader: give one of them another `slot` and `publication`",
            )


def _source(entry: Entry, environment: Environment) -> SourceSettings:
    check_name(entry.key, entry.mark, "a source's name")
    section = mapping_of(entry.value, _KEYS)
    problems = Problems()
    default = section.get("tenant_column")
    attempt = problems.attempt
    source = SourceSettings(
        name=entry.key,
        dsn=attempt(lambda: _dsn(section.require("dsn"), environment), ""),
        tables=attempt(lambda: _tables(section.require("tables"), default), {}),
        slot=attempt(lambda: _slot(section.get("slot")), ""),
        publication=attempt(lambda: _text(section.get("publication"), "bridge"), ""),
        plugin=attempt(lambda: or_default(section.get("plugin"), _plugin, _PLUGINS[0]), ""),
        read_dsn=attempt(
            lambda: _unless_null(section.get("read_dsn"), lambda node: _dsn(node, environment)), None
        ),
        streaming=attempt(lambda: _unless_null(section.get("streaming"), _flag), None) is not False,
        wal_limit=attempt(lambda: _unless_null(section.get("wal_limit"), size), None),
        heartbeat=attempt(lambda: or_default(section.get("heartbeat"), duration, 10.0), 0.0),
        outbox=attempt(lambda: _unless_null(section.get("outbox"), _table_name), None),
    )
    problems.raise_any()
    return source


def _unless_null(node: Node | None, read: Callable[[Node], T]) -> T | None:
    return None if node is None or node.is_null else read(node)


def _flag(node: Node) -> bool:
    return node.as_bool()


def _plugin(node: Node) -> str:
    return one_of(node, _PLUGINS)


def _table_name(node: Node) -> str:
    name = node.as_text()
    try:
        split_table(name)
    except ValueError as error:
        raise node.error(f"{node.mark.path}: {error}") from None
    return name


def _dsn(node: Node, environment: Environment) -> str:
    # psycopg takes a fifth of a second, and most commands open no source
    from cdc.source_dsn import ordinary  # noqa: PLC0415
    from cdc.source_errors import DsnInvalid  # noqa: PLC0415

    dsn = environment.secret(node) or ""
    try:
        ordinary(dsn)
    except DsnInvalid as error:
        raise node.error(
            f"{node.mark.path}: {error}; special characters in the password are percent-encoded in a URI"
        ) from None
    return dsn


def _slot(node: Node | None) -> str:
    name = _text(node, "bridge")
    if node is not None and not (
        len(name) <= 63 and name.replace("_", "a").isalnum() and name == name.lower()
    ):
        raise node.error(f"{node.mark.path}: {name!r} cannot be a slot: at most 63 of a-z, 0-9 and _")
    return name


def _tables(node: Node, default: Node | None) -> dict[str, TableSettings]:
    tables: dict[str, TableSettings] = {}
    problems = Problems()
    for entry in node.as_mapping():
        try:
            split_table(entry.key)
        except ValueError as error:
            problems.add(YamlError(entry.mark, f"{entry.mark.path}: {error}"))
            continue
        table = problems.attempt(partial(_table, entry.mark, entry.value, default), TableSettings())
        tables[entry.key] = table
    problems.raise_any()
    if not tables:
        raise node.error(f"{node.mark.path}: names no table; write schema.table: {{}}")
    return tables


def _table(mark: Mark, node: Node, default: Node | None) -> TableSettings:
    section = MappingNode(mark) if node.is_null else mapping_of(node, ("tenant_column", "key", "exclude"))
    column = section.entry("tenant_column")
    if column is None and default is None:
        raise YamlError(
            mark,
            f"{mark.path}: no tenant_column, neither here nor in the source; write the column that tells the "
            "tenant, or null for a table without a tenant",
        )
    chosen = default if column is None else column.value
    table = TableSettings(
        tenant_column=None if chosen is None or chosen.is_null else chosen.as_text(),
        key=_columns(section, "key"),
        exclude=_columns(section, "exclude"),
    )
    needed = {table.tenant_column, *table.key} & {*table.exclude}
    if needed:
        raise section.require("exclude").error(
            f"{mark.path}: column {min(map(str, needed))!r} tells the tenant or the key and cannot be excluded"
        )
    return table


def _columns(section: MappingNode, key: str) -> tuple[str, ...]:
    node = section.get(key)
    return () if node is None else node.as_sequence().texts()


def _text(node: Node | None, default: str) -> str:
    return default if node is None else node.as_text()
