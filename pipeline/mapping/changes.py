"""`changed` and `became`: what a condition may ask about the row before.

What `before` carries is the table's replica identity's choice; that a column is not in it says nothing about
whether it changed. Only a column of the identity is known to be unchanged when `before` was not sent.
Source: PostgreSQL, "Logical Replication Message Formats" (Update: submessages K, O and N).
"""

from pipeline.mapping.access import member
from pipeline.mapping.errors import EvaluationError
from pipeline.mapping.values import Frame, Value, equal


def changed(frame: Frame, column: Value) -> bool:
    """Whether the event changed the column: true on insert, compared on update, else false.

    Raises:
        EvaluationError: class `before_unknown`, with the SQL that cures it; class `missing` for no such column.
    """
    event = frame["event"]
    if event["op"] == "insert":
        member(event["after"], column, "after", frame)
        return True
    if event["op"] != "update" or column in event.get("unchanged", ()):
        return False
    now = member(event["after"], column, "after", frame)
    before = event.get("before") or {}
    if column in before:
        return not equal(before[column], now)
    identity = event.get("identity") or list(event.get("key") or {})
    if column in identity:
        return False
    raise _unknown_before(event, str(column), identity)


def became(frame: Frame, column: Value, value: Value) -> bool:
    """`after.column == value and changed(column)`."""
    event = frame["event"]
    if event["op"] not in ("insert", "update") or column in event.get("unchanged", ()):
        return False
    return equal(member(event["after"], column, "after", frame), value) and changed(frame, column)


def _unknown_before(event: Frame, column: str, identity: list[str]) -> EvaluationError:
    source = event["source"]
    table = f"{_quoted(source['schema'])}.{_quoted(source['table'])}"
    index = _quoted(f"{source['table']}_bridge_identity"[:63])
    columns = ", ".join(_quoted(name) for name in [*identity, column])
    return EvaluationError(
        "before_unknown",
        f"whether {column!r} changed is unknown: the table's replica identity does not carry it. Let the DBA run"
        f" (with the tenant column, every other column that mappings compare, all NOT NULL, in the index too):"
        f" CREATE UNIQUE INDEX CONCURRENTLY {index} ON {table} ({columns});"
        f" ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index};",
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
