"""All types that a column may have: those that come with PostgreSQL, those that `OBJECTS` makes, and arrays of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.cdc.json_to_text import (
    from_base64,
    from_bool,
    from_json,
    from_number,
    from_object,
    from_string,
    quoted,
)
from tests.cdc.value_texts import (
    BYTES,
    DATE,
    DAYS,
    DECIMALS,
    FINITE,
    HSTORE,
    INT4S,
    INT8S,
    INTERVAL,
    JSON,
    JSON_ODD,
    JSONB_ODD,
    NUMERIC,
    OFFSET,
    POINT,
    POINTS,
    TEXT,
    TIME,
    TIMES,
    TSQUERY,
    TSVECTOR,
    arrays,
    cubes,
    floats,
    integers,
    moments,
    multi,
    ranges,
    row,
    unsigned,
)

OBJECTS = r"""
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE EXTENSION lo;
CREATE SCHEMA "sch ema.x";
CREATE TYPE mood AS ENUM ('fine', 'so "so"', '', 'a,b', 'b\s', '{}', 'NULL', 'ñ😀');
CREATE TYPE pair AS (n int, "te xt" text);
CREATE TYPE nest AS (p pair, ps pair[], h hstore, raw bytea, doc jsonb, r int4range);
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C", multirange_type_name = textmultirange);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN small AS positive CHECK (VALUE < 1000);
CREATE DOMAIN price AS numeric(12, 2) DEFAULT 0;
CREATE DOMAIN "sch ema.x"."mo.ment" AS timestamptz;
CREATE DOMAIN ints AS int[] CHECK (array_length(VALUE, 1) IS DISTINCT FROM 17);
CREATE DOMAIN mood_domain AS mood;
CREATE DOMAIN pair_domain AS pair CHECK ((VALUE).n IS DISTINCT FROM 17);
CREATE DOMAIN hstore_domain AS hstore;
CREATE DOMAIN raw_domain AS bytea;
CREATE DOMAIN doc_domain AS jsonb;
CREATE DOMAIN moods AS mood_domain[];
CREATE TABLE "row ""type" (a int, b boolean, c timestamptz[]);
"""


@dataclass(frozen=True)
class ColumnType:
    """texts: what the type's input takes; written: the text of a value as `read_exactly` gives it, never None."""

    texts: SearchStrategy[str]
    written: Callable[[Any], str] = str


def choice(*texts: str) -> ColumnType:
    return ColumnType(st.sampled_from(texts), from_string)


def string(texts: SearchStrategy[str]) -> ColumnType:
    return ColumnType(texts, from_string)


def numeric(texts: SearchStrategy[str]) -> ColumnType:
    return ColumnType(texts, from_number)


def array_of(of: ColumnType, delimiter: str = ",", *, cubic: bool = True) -> ColumnType:
    """cubic: of any dimensions; not where elements are JSON arrays themselves, which nobody could tell apart."""

    def written(value: Any) -> str:
        if isinstance(value, str):
            assert value.startswith("[")
            return value
        return f"{{{delimiter.join(map(item, value))}}}"

    def item(value: Any) -> str:
        if value is None:
            return "NULL"
        return written(value) if cubic and isinstance(value, list) else quoted(of.written(value))

    texts = arrays(of.texts, delimiter)
    return ColumnType(texts | cubes(of.texts, delimiter) if cubic else texts, written)


STAMP = ColumnType(moments("294276", "+00"), from_string)
_BUILT_IN: Mapping[str, ColumnType] = {
    "bool": ColumnType(st.sampled_from("tf"), from_bool),
    "bytea": ColumnType(BYTES, from_base64),
    '"char"': choice("", "x", '"', "\\", r"\200", r"\377", " ", "7"),
    "name": string(TEXT),
    "int2": numeric(integers(16)),
    "int4": numeric(integers(32)),
    "int8": numeric(integers(64)),
    "oid": numeric(unsigned(32)),
    "int2vector": string(st.lists(integers(16), max_size=4).map(" ".join)),
    "oidvector": string(st.lists(unsigned(32), max_size=4).map(" ".join)),
    "regproc": choice("now", "-", "4294967295"),
    "regprocedure": choice("sum(integer)", "-", "array_append(anycompatiblearray,anycompatible)"),
    "regoper": choice("||/", "0"),
    "regoperator": choice("*(integer,integer)", "!!(NONE,tsquery)", "0"),
    "regclass": choice("pg_class", "pair", '"row ""type"', "4294967295", "-"),
    "regtype": choice("integer[]", "timestamp without time zone", '"char"', '"sch ema.x"."mo.ment"', "-"),
    "regrole": choice("postgres", "-"),
    "regnamespace": choice('"sch ema.x"', "pg_catalog"),
    "regconfig": choice("english", "-"),
    "regdictionary": choice("simple", "-"),
    "regcollation": choice('"C"', '"default"', "-"),
    "text": string(TEXT),
    "bpchar": string(TEXT),
    "char(7)": string(TEXT.filter(lambda text: len(text) <= 7)),
    "varchar": string(TEXT),
    "varchar(12)": string(TEXT.filter(lambda text: len(text) <= 12)),
    "tid": string(st.tuples(unsigned(32), unsigned(16)).map(lambda at: f"({at[0]},{at[1]})")),
    "xid": string(unsigned(32)),
    "cid": string(unsigned(32)),
    "xid8": string(unsigned(64)),
    "pg_lsn": string(st.tuples(unsigned(32), unsigned(32)).map(lambda at: f"{int(at[0]):X}/{int(at[1]):X}")),
    "pg_snapshot": choice("10:20:10,14,15", "10:10:"),
    "txid_snapshot": choice("10:20:10,14,15", "10:10:"),
    "json": ColumnType(JSON | JSON_ODD, from_json),
    "jsonb": ColumnType(JSON | JSONB_ODD, from_json),
    "jsonpath": choice('$."a b"[*]?(@ > 1.50)', "strict $.a.type()", '$."\\"q\\\\"', "lax $[0 to last]"),
    "point": string(POINT),
    "line": string(st.tuples(FINITE, FINITE).map(lambda ab: f"{{1,{ab[0]},{ab[1]}}}")),
    "lseg": string(st.tuples(POINT, POINT).map(lambda ends: f"[{ends[0]},{ends[1]}]")),
    "box": string(st.tuples(POINT, POINT).map(",".join)),
    "path": string(POINTS.map(lambda points: f"[{points}]") | POINTS.map(lambda points: f"({points})")),
    "polygon": string(POINTS.map(lambda points: f"({points})")),
    "circle": string(st.tuples(POINT, st.floats(0, 1e300)).map(lambda parts: f"<{parts[0]},{parts[1]!r}>")),
    "float4": numeric(floats(32)),
    "float8": numeric(floats(64)),
    "numeric": numeric(NUMERIC),
    "numeric(12,2)": numeric(st.decimals(-(10**9), 10**9, places=2).map(str) | st.just("NaN")),
    "money": string(st.decimals(-(10**14), 10**14, places=2).map(str)),
    "cidr": choice("10.0.0.0/8", "::1/128", "0.0.0.0/0", "2001:db8::/32"),
    "inet": string(st.ip_addresses().map(str) | st.sampled_from(["10.0.0.1/8", "2001:db8::1/32"])),
    "macaddr": string(st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))),
    "macaddr8": string(st.binary(min_size=8, max_size=8).map(lambda raw: raw.hex(":"))),
    "aclitem": choice("postgres=r*w/postgres", "=UC/postgres"),
    "date": string(DATE),
    "time": string(TIME),
    "time(2)": string(TIME),
    "timetz": string(st.tuples(TIME, OFFSET).map("".join)),
    "timestamp": string(moments("294276")),
    "timestamp(0)": string(st.datetimes().map(lambda at: at.isoformat(" "))),
    "timestamptz": STAMP,
    "interval": string(INTERVAL),
    "interval day to second(3)": string(INTERVAL),
    "bit(5)": string(st.text("01", min_size=5, max_size=5)),
    "varbit": string(st.text("01", max_size=70)),
    "refcursor": string(TEXT),
    "uuid": string(st.uuids().map(str)),
    "tsvector": string(TSVECTOR),
    "tsquery": string(TSQUERY),
    "int4range": string(ranges(INT4S)),
    "int8range": string(ranges(INT8S)),
    "numrange": string(ranges(DECIMALS)),
    "daterange": string(ranges(DAYS)),
    "tsrange": string(ranges(TIMES)),
    "tstzrange": string(ranges(TIMES)),
    "int4multirange": string(multi(ranges(INT4S))),
    "int8multirange": string(multi(ranges(INT8S))),
    "nummultirange": string(multi(ranges(DECIMALS))),
    "datemultirange": string(multi(ranges(DAYS))),
    "tsmultirange": string(multi(ranges(TIMES))),
    "tstzmultirange": string(multi(ranges(TIMES))),
}
_INTS = array_of(numeric(integers(32)))
_MOODS = choice("fine", 'so "so"', "", "a,b", r"b\s", "{}", "NULL", "ñ😀")
_PAIRS = st.tuples(st.none() | integers(32), st.none() | TEXT).map(lambda members: row(*members))
_NESTS = st.tuples(_PAIRS, arrays(_PAIRS, ","), HSTORE, BYTES, JSON, ranges(INT4S)).map(
    lambda members: row(*members)
)
_SMALL = numeric(st.integers(1, 999).map(str))
_OWN: Mapping[str, ColumnType] = {
    "mood": _MOODS,
    "mood_domain": _MOODS,
    "positive": _SMALL,
    "small": _SMALL,
    "price": numeric(st.decimals(-(10**9), 10**9, places=2).map(str)),
    '"sch ema.x"."mo.ment"': STAMP,
    "raw_domain": ColumnType(BYTES, from_base64),
    "doc_domain": ColumnType(JSON, from_json),
    "pair": string(_PAIRS),
    "pair_domain": string(_PAIRS),
    "nest": string(_NESTS),
    '"row ""type"': string(
        st.tuples(integers(32), st.sampled_from("tf"), arrays(STAMP.texts, ",")).map(lambda it: row(*it))
    ),
    "hstore": ColumnType(HSTORE, from_object),
    "hstore_domain": ColumnType(HSTORE, from_object),
    "textrange": string(ranges(st.text('abc(),]"\\ ', max_size=5))),
    "textmultirange": string(multi(ranges(st.text('abc(),]"\\ ', max_size=5)))),
    "citext": string(TEXT),
    "ltree": choice("", "a.b.c", "Top"),
    "lo": numeric(unsigned(32)),
}
_ARRAYS_INSIDE = ("json", "jsonb", "doc_domain")
_SINGLE: Mapping[str, ColumnType] = {**_BUILT_IN, **_OWN}

TYPES: Mapping[str, ColumnType] = {
    **_SINGLE,
    **{
        f"{name}[]": array_of(of, ";" if name == "box" else ",", cubic=name not in _ARRAYS_INSIDE)
        for name, of in _SINGLE.items()
    },
    "ints": _INTS,
    "moods": array_of(_MOODS),
    "ints[]": array_of(_INTS, cubic=False),
    "moods[]": array_of(array_of(_MOODS), cubic=False),
}
