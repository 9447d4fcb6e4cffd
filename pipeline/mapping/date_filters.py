"""Filters over dates and times. They read the forms events carry, and give text.

`2026-11-24T03:28:19.832462Z` (timestamptz), the same without Z (timestamp, taken as UTC), `2026-11-24` (date).
A date has no time zone: `local` leaves it as it is.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pipeline.mapping.errors import EvaluationError, invalid_value
from pipeline.mapping.text_filters import whole
from pipeline.mapping.values import Value, kind_of, text_of
from pipeline.mapping.zones import zone as zone_of

_FORM = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
_LETTERS = re.compile(r"%-?[aAbBcdDeFfGHIjmMpRSTuUVwWxXyYzZ%]")
_MAX_FORMAT = 200


def _parsed(value: Value) -> tuple[datetime, re.Match[str]]:
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _not_a_date(value)
    try:
        return datetime.fromisoformat(value), match
    except ValueError:
        raise _not_a_date(value) from None


def _not_a_date(value: Value) -> EvaluationError:
    return invalid_value(
        f"{kind_of(value)} is not a date; dates are written 2026-11-24 or 2026-11-24T03:28:19Z"
    )


def date_format(value: Value, form: Value) -> str:
    """strftime's letters; without width modifiers, which make texts of any length."""
    form = text_of(form)
    if len(form) > _MAX_FORMAT or "%" in _LETTERS.sub("", form):
        raise invalid_value(f"date_format knows strftime's letters, as in '%d/%m/%Y', not {form[:40]!r}")
    return _within(lambda: _formatted(_parsed(value)[0], form), value)


def _formatted(moment: datetime, form: str) -> str:
    """strftime of the C library writes the year 1 as `1`."""
    year = {
        "%Y": f"{moment.year:04}",
        "%F": moment.date().isoformat(),
        "%G": f"{moment.isocalendar().year:04}",
    }
    return moment.strftime(_LETTERS.sub(lambda letter: year.get(letter[0], letter[0]), form))


def add_days(value: Value, n: Value) -> str:
    """So many days later, or earlier below zero, in the form it was written in."""
    days = whole(n, "add_days", minimum=-1_000_000)
    moment, match = _parsed(value)
    moved = _within(lambda: (moment + timedelta(days=days)).date().isoformat(), value)
    assert isinstance(value, str)
    return moved + value[len("2026-11-24") : match.end()]


def local(value: Value, zone: str) -> str:
    """The tenant's time zone: `2026-11-24T00:28:19.832462-03:00`."""
    moment, match = _parsed(value)
    if match["time"] is None:
        return text_of(value)
    aware = moment if match["zone"] else moment.replace(tzinfo=UTC)
    return _within(lambda: aware.astimezone(zone_of(zone)).isoformat(), value)


def odata_date(value: Value) -> str:
    """OData 2's JSON form, `/Date(milliseconds)/`; a date is its midnight in UTC."""
    moment, match = _parsed(value)
    aware = moment if match["zone"] else moment.replace(tzinfo=UTC)
    return f"/Date({(aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)})/"


def _within(compute: Callable[[], str], value: Value) -> str:
    try:
        return compute()
    except (OverflowError, ValueError):
        raise invalid_value(f"{kind_of(value)} leaves the years 1 to 9999") from None


DATE_FILTERS: dict[str, Callable[..., str]] = {
    "add_days": add_days,
    "date_format": date_format,
    "odata_date": odata_date,
}
