"""`saved` and `wait_for`: what deliveries of the tenant's other routes left behind."""

from pipeline.mapping.errors import WAIT_FOR, EvaluationError, Wanted, invalid_value
from pipeline.mapping.known import Known, SavedRead, saved_key
from pipeline.mapping.values import Frame, Value, kind_of, text_of

KNOWN = "\0known"
"""The frame's name for what is known besides the event."""


def saved(frame: Frame, route: Value, key: Value, name: Value) -> Value:
    """What a delivery of `route` for the row `key` saved as `name`; null where there is nothing, or the key is null.

    Raises:
        Wanted: it has not been read yet.
    """
    if key is None:
        return None
    read = SavedRead(text_of(route), _key(key), text_of(name))
    known: Known = frame[KNOWN]
    if read.id not in known.saved:
        raise Wanted(read)
    return known.saved[read.id]


def wait_for(frame: Frame, route: Value, key: Value, name: Value) -> Value:
    """The same, but what is not there yet is waited for.

    Raises:
        EvaluationError: class `wait_for`; class `null` for a key that nothing will ever have.
    """
    if key is None:
        raise EvaluationError("null", "wait_for would wait for ever for the key null; test it first")
    value = saved(frame, route, key, name)
    if value is None:
        raise not_yet(f"route {text_of(route)} has saved no {text_of(name)!r} for the key {_key(key)}")
    return value


def wait_until(value: Value) -> Value:
    """`wait_for` of any value: waits while it is null."""
    if value is None:
        raise not_yet("what the mapping waits for is null")
    return value


def not_yet(what: str) -> EvaluationError:
    return EvaluationError(WAIT_FOR, f"{what} yet; it is asked for again until the delivery’s deadline")


def _key(key: Value) -> str:
    if isinstance(key, list) or key is True or key is False:
        raise invalid_value(f"a key is a value, or an object of the key's columns, not {kind_of(key)}")
    return saved_key(key)
