"""`changed` and `became`: what a condition may ask about the row before.

What `before` carries is the table's replica identity's choice; that a column is not in it says nothing about
whether it changed. Only a column of the identity is known to be unchanged when `before` was not sent.
Source: PostgreSQL, "Logical Replication Message Formats" (Update: submessages K, O and N).
"""

from pipeline.mapping.access import member
from pipeline.mapping.errors import EvaluationError
from pipeline.mapping.values import Frame, Value, equal

NAMED = "\0named"
"""In a frame, and no name that an expression could write: a backfill was asked for this route."""


def changed(frame: Frame, column: Value) -> bool:
    """Whether the event changed the column: true on insert, compared on update, else false.

    A row that a backfill reads for this very route is new to it, as on insert.

    Raises:
        EvaluationError: class `before_unknown`, with the SQL that cures it; class `missing` for no such column.
    """
    event = frame["event"]
    if _is_new(frame):
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
    source = event["source"]
    raise EvaluationError(
        "before_unknown",
        f"whether {column!r} changed is unknown: {cure(source['schema'], source['table'], [*identity, str(column)])}",
    )


def became(frame: Frame, column: Value, value: Value) -> bool:
    """`after.column == value and changed(column)`."""
    event = frame["event"]
    if not (_is_new(frame) or event["op"] == "update") or column in event.get("unchanged", ()):
        return False
    return equal(member(event["after"], column, "after", frame), value) and changed(frame, column)


def _is_new(frame: Frame) -> bool:
    op = frame["event"]["op"]
    return bool(op == "insert" or (op == "read" and frame.get(NAMED)))


def cure(schema: str, table: str, columns: list[str]) -> str:
    """Why an update does not tell, and the SQL after which it does; columns: the identity's and the new ones."""
    name = f"{_quoted(schema)}.{_quoted(table)}"
    index = _quoted(f"{table}_bridge_identity"[:63])
    return (
        "the table's replica identity does not carry it. Let the DBA run (with the tenant column, every other column"
        " that mappings compare, all NOT NULL, in the index too):"
        f" CREATE UNIQUE INDEX CONCURRENTLY {index} ON {name} ({', '.join(map(_quoted, columns))});"
        f" ALTER TABLE {name} REPLICA IDENTITY USING INDEX {index};"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
