"""What must stay in order with what: the ordering keys of an event (rule R5). Pure.

Two events of a route that share a line are never under way together, and go in the order of their sequences.
"""

from collections.abc import Mapping
from typing import Any

from eventbus.event import encode_json

Line = tuple[str, str, bytes | None]
"""A route (`tenant/route`), a table (`schema.table`) and a key as JSON; None: the table has no key, all is one order."""


def lines_of(event: Mapping[str, Any], route: str) -> tuple[Line, ...]:
    """The lines an event stands in: one, or two where its key changed, the old one's first."""
    source = event.get("source")
    table = f"{source.get('schema')}.{source.get('table')}" if isinstance(source, Mapping) else ""
    key = event.get("key")
    if not isinstance(key, Mapping):
        # the outbox's may be any value
        return ((route, table, None if key is None else encode_json(key)),)
    new = encode_json(dict(key))
    old = _old_key(key, event.get("before"))
    line = (route, table, new)
    return (line,) if old in (None, new) else ((route, table, old), line)


def ordering_line(route: str, value: Any) -> Line:
    """The line of a value of the mapping's `ordering`, whatever the table."""
    return (route, "", encode_json(value))


def _old_key(key: Mapping[str, Any], before: Any) -> bytes | None:
    """As JSON, where 1.0 and 1.00 are two keys as in all other events.

    None where the old row does not tell, or where it is plain that it is the same.
    """
    if not isinstance(before, Mapping) or any(column not in before for column in key):
        return None
    if all(_plainly_same(value, before[column]) for column, value in key.items()):
        return None
    return encode_json({column: before[column] for column in key})


def _plainly_same(value: Any, other: Any) -> bool:
    """Whether both are the same text or whole number: then their JSON is, too."""
    return type(value) is type(other) and isinstance(value, str | int) and bool(value == other)
