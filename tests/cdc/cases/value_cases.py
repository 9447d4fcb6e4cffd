"""Values of every kind of type."""

from decimal import Decimal

from tests.cdc.cases.case import ID, Case, insert, update


def cases() -> list[Case]:
    numbers = "CREATE TABLE t (id int PRIMARY KEY, n numeric, f float4, d float8, ns numeric[], m money)"
    lost = {"id": 1, "n": None, "f": None, "d": None, "ns": ["NaN", Decimal("1.50")], "m": "$1.50"}
    many = int("9" * 400)
    return [
        Case(
            "NaN and Infinity: wal2json sends null, but for arrays and domains",
            [numbers],
            ["INSERT INTO t VALUES (1, 'NaN', '-Infinity', 'Infinity', '{NaN,1.50}', 1.5)"],
            [insert(ID, {**lost, "n": "NaN", "f": "-Infinity", "d": "Infinity"})],
            wal2json=[insert(ID, lost)],
        ),
        Case(
            "numbers keep their digits",
            [
                "CREATE TABLE t (id int8 PRIMARY KEY, a numeric, b numeric, c numeric(12,2), d float8, e float4, o oid)"
            ],
            [f"INSERT INTO t VALUES (9007199254740993, {many}, {many}.50, 1273, 1e300, 1.1, 4294967295)"],
            [
                insert(
                    {"id": 9007199254740993},
                    {
                        "id": 9007199254740993,
                        "a": many,
                        "b": Decimal(f"{many}.50"),
                        "c": Decimal("1273.00"),
                        "d": Decimal("1e+300"),
                        "e": Decimal("1.1"),
                        "o": 4294967295,
                    },
                )
            ],
        ),
        Case(
            "enums, domains, arrays, composites, ranges",
            [
                "CREATE TYPE mood AS ENUM ('fine', 'so \"so\"')",
                "CREATE TYPE pair AS (x int, y text)",
                "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
                "CREATE DOMAIN amount AS numeric",
                "CREATE DOMAIN yes AS bool",
                "CREATE DOMAIN raw AS bytea",
                (
                    "CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[], p positive, ps positive[], a amount, y yes,"
                    " r raw, c pair, cs pair[], i int4range, im int4multirange, ia int[], ib int[], ts text[])"
                ),
            ],
            [
                (
                    "INSERT INTO t VALUES (1, 'so \"so\"', ARRAY['so \"so\"', NULL]::mood[], 5, '{5,6}', 'NaN', true,"
                    r" '\x00ff10', ROW(1, 'a b'), ARRAY[ROW(1, 'a b')]::pair[], '[1,3)', '{[1,3)}', '{{1,2},{3,NULL}}',"
                    ' \'[0:1]={7,8}\', \'{a,NULL,"NULL","","a,b"}\')'
                )
            ],
            [
                insert(
                    ID,
                    {
                        "id": 1,
                        "m": 'so "so"',
                        "ms": ['so "so"', None],
                        "p": 5,
                        "ps": [5, 6],
                        "a": "NaN",
                        "y": True,
                        "r": "AP8Q",
                        "c": '(1,"a b")',
                        "cs": ['(1,"a b")'],
                        "i": "[1,3)",
                        "im": "{[1,3)}",
                        "ia": [[1, 2], [3, None]],
                        "ib": "[0:1]={7,8}",
                        "ts": ["a", None, "NULL", "", "a,b"],
                    },
                )
            ],
        ),
        Case(
            "hstore",
            [
                "CREATE DOMAIN pairs AS hstore",
                "CREATE TABLE t (id int PRIMARY KEY, h hstore, d pairs, hs hstore[])",
            ],
            ["""INSERT INTO t VALUES (1, 'a=>"q\\"x", b=>NULL', 'a=>1', ARRAY['a=>1'::hstore])"""],
            [insert(ID, {"id": 1, "h": {"a": 'q"x', "b": None}, "d": {"a": "1"}, "hs": [{"a": "1"}]})],
            needs="hstore",
        ),
        Case(
            "times",
            [
                "CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b timestamp, c date, d time, e interval, f timestamptz)"
            ],
            [
                (
                    "INSERT INTO t VALUES (1, '2026-11-24 03:28:19.832462+00', '2026-11-24 03:28:19', '2026-11-24', '24:00',"
                    " '1 year 2 mons 3 days 04:05:06.7', 'infinity')"
                ),
                "UPDATE t SET a = '0044-03-15 12:00:00+00 BC', b = '12026-01-01', f = NULL",
            ],
            [
                insert(
                    ID,
                    {
                        "id": 1,
                        "a": "2026-11-24T03:28:19.832462Z",
                        "b": "2026-11-24T03:28:19",
                        "c": "2026-11-24",
                        "d": "24:00:00",
                        "e": "P1Y2M3DT4H5M6.7S",
                        "f": "infinity",
                    },
                ),
                update(
                    ID,
                    {
                        "id": 1,
                        "a": "0044-03-15 12:00:00+00 BC",
                        "b": "12026-01-01 00:00:00",
                        "c": "2026-11-24",
                        "d": "24:00:00",
                        "e": "P1Y2M3DT4H5M6.7S",
                        "f": None,
                    },
                ),
            ],
        ),
        Case(
            "text, bytes, booleans and JSON",
            [
                (
                    'CREATE TABLE t (id int PRIMARY KEY, a text, b text, c char(3), d "char", e bytea, f bytea[], g bool,'
                    " h json, i json, j jsonb, k uuid, l inet)"
                )
            ],
            [
                (
                    r"""INSERT INTO t VALUES (1, E'tab\t \\ \x01 "q" </a> 😀', '', 'a', 'x', '\x00ff10', """
                    r"""ARRAY['\x00ff10'::bytea], false, '{"b" :  1.10, "n": [null]}', '"\ud800"', """
                    """'{"a": {"deep": [1.50, "q\\"x"]}}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1/8')"""
                )
            ],
            [
                insert(
                    ID,
                    {
                        "id": 1,
                        "a": 'tab\t \\ \x01 "q" </a> 😀',
                        "b": "",
                        "c": "a  ",
                        "d": "x",
                        "e": "AP8Q",
                        "f": ["AP8Q"],
                        "g": False,
                        "h": {"b": Decimal("1.10"), "n": [None]},
                        "i": '"\\ud800"',
                        "j": {"a": {"deep": [Decimal("1.50"), 'q"x']}},
                        "k": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                        "l": "10.0.0.1/8",
                    },
                )
            ],
        ),
        Case(
            "XML",
            ["CREATE TABLE t (id int PRIMARY KEY, x xml)"],
            ["INSERT INTO t VALUES (1, '<a b=\"c\"/>')"],
            [insert(ID, {"id": 1, "x": '<a b="c"/>'})],
            needs="libxml",
        ),
    ]
