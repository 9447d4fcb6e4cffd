"""Random values as texts that the server's input takes (hypothesis)."""

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.cdc.json_to_text import Digits, from_json, from_object, quoted

TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(
    [
        "",
        "NULL",
        "null",
        '"',
        "\\",
        "{}",
        "a,b",
        "(",
        "x;y",
        " ",
        "\t\n\r\x01\x7f",
        "ñ😀\u2028",
    ]
)
BYTES = st.binary(max_size=20).map(lambda raw: rf"\x{raw.hex()}")


def integers(bits: int) -> SearchStrategy[str]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


def unsigned(bits: int) -> SearchStrategy[str]:
    return st.integers(0, 2**bits - 1).map(str)


def floats(width: Literal[32, 64]) -> SearchStrategy[str]:
    return st.floats(width=width).map(repr) | st.sampled_from(["-0", "NaN", "Infinity", "-Infinity"])


FINITE = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers(-99, 99).map(str)
POINT = st.tuples(FINITE, FINITE).map(lambda xy: f"({xy[0]},{xy[1]})")
POINTS = st.lists(POINT, min_size=1, max_size=4).map(",".join)
NUMERIC = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False)
    .filter(lambda n: -16_000 < n.adjusted() < 2_000)
    .map(str),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "-0.00", "1e-16383", "1e5000", "9" * 1000 + "." + "9" * 1000]
    ),
)


def moments(last_year: str, offset: str = "") -> SearchStrategy[str]:
    common = st.datetimes().map(lambda at: at.isoformat(" ") + offset)
    special = [
        "infinity",
        "-infinity",
        f"4713-01-01 00:00:00{offset} BC",
        f"{last_year}-12-30 23:59:59.999999{offset}",
    ]
    return common | st.sampled_from(
        [*special, f"10000-01-01 00:00:00{offset}", f"0001-02-03 04:05:06.7{offset}"]
    )


DATE = st.dates().map(date.isoformat) | st.sampled_from(
    ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "10000-01-01", "0044-03-15 BC"]
)
TIME = st.times().map(time.isoformat) | st.sampled_from(["24:00:00", "00:00:00", "23:59:59.999999"])
OFFSET = st.sampled_from(["+00", "-15:59:59", "+15:59", "+05:45", "-03"])
_PART = st.integers(-9999, 9999)
INTERVAL = st.tuples(_PART, _PART, _PART, st.integers(-(10**12), 10**12)).map(
    lambda parts: "{} years {} mons {} days {} us".format(*parts)
) | st.sampled_from(["0", "-1 us", "178000000 years"])
JSON = (
    st.recursive(
        st.none() | st.booleans() | TEXT | st.integers(-(10**30), 10**30).map(lambda n: Digits(str(n))),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )
    .filter(lambda value: value is not None)
    .map(from_json)
)
"""Never null, which in an event is a NULL's twin."""
JSON_ODD = st.sampled_from(
    ["-0", "1.50", "1E5", "1e-7", "1e99999", r'"\u0000"', r'"\ud83d\ude00"', '"null"', "[]", "{}"]
)
JSONB_ODD = st.sampled_from(["1.50", "1e1000", "1e-1000", "-12E+3", r'"\ud83d\ude00"', '"null"', "[]", "{}"])
HSTORE = st.dictionaries(TEXT, st.none() | TEXT, max_size=4).map(from_object)
LEXEME = TEXT.filter(bool).map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "''") + "'")
TSVECTOR = st.lists(
    st.tuples(LEXEME, st.sampled_from(["", ":1", ":3A,7B", ":16383"])).map("".join), max_size=4
).map(" ".join)
TSQUERY = st.lists(
    st.tuples(LEXEME, st.sampled_from(["", ":*", ":AB"])).map("".join), min_size=1, max_size=4
).flatmap(lambda words: st.sampled_from([" & ", " | ", " <-> ", " & !"]).map(lambda by: by.join(words)))


def ranges(low: SearchStrategy[Any], text: Callable[[Any], str] = str) -> SearchStrategy[str]:
    """Of bounds that sort as the subtype's values do."""
    bounded = (
        st.tuples(low, low).map(sorted).map(lambda ends: f"{quoted(text(ends[0]))},{quoted(text(ends[1]))}")
    )
    half = (
        low.map(lambda end: f"{quoted(text(end))},")
        | low.map(lambda end: f",{quoted(text(end))}")
        | st.just(",")
    )
    return st.tuples(st.sampled_from("[("), bounded | half, st.sampled_from("])")).map("".join) | st.just(
        "empty"
    )


def multi(of: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.lists(of, max_size=3).map(lambda them: f"{{{','.join(them)}}}")


INT4S = st.integers(-(2**30), 2**30)
INT8S = st.integers(-(2**62), 2**62)
DECIMALS = st.decimals(-(10**9), 10**9, places=3)
DAYS = st.dates(max_value=date(9999, 1, 1))
TIMES = st.datetimes(max_value=datetime(9999, 1, 1))  # noqa: DTZ001 - the server reads it as UTC


def row(*members: str | None) -> str:
    return f"({','.join('' if member is None else quoted(member) for member in members)})"


def arrays(of: SearchStrategy[str], delimiter: str) -> SearchStrategy[str]:
    """Of one dimension, perhaps with bounds of their own."""
    items = st.lists(of.map(quoted) | st.just("NULL"), max_size=4)
    bare = items.map(lambda items: f"{{{delimiter.join(items)}}}")
    return bare | items.filter(bool).map(lambda items: f"[-1:{len(items) - 2}]={{{delimiter.join(items)}}}")


def cubes(of: SearchStrategy[str], delimiter: str) -> SearchStrategy[str]:
    """Arrays of two and three dimensions."""
    item = of.map(quoted) | st.just("NULL")
    line = st.integers(1, 3).map(lambda width: st.lists(item, min_size=width, max_size=width))
    lines = line.flatmap(
        lambda one: st.lists(one.map(lambda items: f"{{{delimiter.join(items)}}}"), min_size=1, max_size=3)
    )
    return lines.map(lambda them: f"{{{delimiter.join(them)}}}").flatmap(
        lambda matrix: st.sampled_from([matrix, f"{{{matrix}}}", f"{{{matrix}{delimiter}{matrix}}}"])
    )
