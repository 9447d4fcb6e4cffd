"""SQL in, events out, by docs/events.md: the same on each version of PostgreSQL and from each plugin.

A case whose `wal2json` is set states how that plugin's events differ, `needs` what not every server has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdc.settings import TableSettings

Expected = dict[str, Any]
PLAIN, TENANTS = TableSettings(), TableSettings("tenant")
ID = {"id": 1}


def event(op: str, key: Any = None, *, table: str = "t", **members: Any) -> Expected:
    """An event as `seen` shows it; members that are not named are null, `unchanged` and `identity` absent."""
    return {"op": op, "table": table, "tenant": None, "key": key, "before": None, "after": None, **members}


def seen(found: Mapping[str, Any]) -> Expected:
    """What a case says of an event: all but where and when."""
    shown = {name: value for name, value in found.items() if name not in {"v", "id", "source"}}
    return {"table": found["source"]["table"], **shown}


def insert(key: Any, after: Expected, **members: Any) -> Expected:
    return event("insert", key, after=after, **members)


def update(key: Any, after: Expected, **members: Any) -> Expected:
    return event("update", key, after=after, **members)


def delete(key: Any, before: Expected, **members: Any) -> Expected:
    return event("delete", key, before=before, **members)


@dataclass(frozen=True)
class Case:
    """before: run before the slot is read; changes: what is captured; `{schema}` is the case's own schema.

    publication: what it is FOR. ordinals: where they are not 1, 2, 3… within a single transaction.
    """

    name: str
    before: Sequence[str]
    changes: Sequence[str]
    events: Sequence[Expected]
    tables: Mapping[str, TableSettings] = field(default_factory=lambda: {"t": PLAIN})
    publication: str = "ALL TABLES"
    ordinals: Sequence[int] | None = None
    wal2json: Sequence[Expected] | None = None
    wal2json_ordinals: Sequence[int] | None = None
    needs: str = ""
