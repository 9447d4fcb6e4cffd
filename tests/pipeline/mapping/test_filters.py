from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, RenderError, parse_lookup
from pipeline.mapping.filters import NAMES
from pipeline.yaml_tree import YamlError

D = Decimal
ROWS = [{"c": "b", "n": 2}, {"c": "a", "n": D("1.5")}, {"c": "b", "n": 1}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'Mantención' | cut(4)", "Mant"),
        ("12345 | cut(2)", "12"),
        ("none | cut(2)", None),
        ("'39.373.782/0019-79' | digits", "39373782001979"),
        ("'٣4' | digits", "4"),
        ("1234.565 | decimal(2)", "1234.57"),
        ("1234.565 | decimal(2, ',')", "1234,57"),
        ("5 | decimal(3)", "5.000"),
        ("'12.5' | decimal", "12.50"),
        ("-0.004 | decimal(2)", "0.00"),
        ("2.5 | decimal(0)", "3"),
        ("1e20 | decimal(1)", "100000000000000000000.0"),
        ('"O\'Higgins" | odata', "O''Higgins"),
        ("'a1b22' | regex_replace('[0-9]+', '#')", "a#b#"),
        ("'a1b22' | regex_replace('([a-z])([0-9])', '\\\\2\\\\1')", "1a2b2"),
        ("'%018d' | format('4711' | int)", "000000000000004711"),
        ("'%-5s|%05.1f|%%' | format('ab', 2.25)", "ab   |002.3|%"),
        ("rows | index_by('n')", {"2": ROWS[0], "1.5": ROWS[1], "1": ROWS[2]}),
        ("(rows | index_by('n'))['2'].c", "b"),
        ("rows | sum(attribute='n')", D("4.5")),
        ("[1, 2] | sum", 3),
        ("[] | sum", 0),
        ("rows | map(attribute='c') | join('-')", "b-a-b"),
        ("rows | map(attribute='x', default=0) | list", [0, 0, 0]),
        ("['a', 'b'] | map('upper') | list", ["A", "B"]),
        ("['abc'] | map('cut', 2) | first", "ab"),
        ("rows | selectattr('c', 'eq', 'b') | map(attribute='n') | list", [2, 1]),
        ("rows | rejectattr('c', 'in', ['b']) | length", 1),
        ("rows | selectattr('x', 'defined') | list", []),
        ("[1, 0, none] | select | list", [1]),
        ("[1, 2, 3] | reject('odd') | list", [2]),
        ("rows | sort(attribute='n') | map(attribute='n') | list", [1, D("1.5"), 2]),
        ("['b', 'A'] | sort(reverse=true)", ["b", "A"]),
        ("rows | unique(attribute='c') | length", 2),
        ("(rows | groupby('c'))[0].list | length", 2),
        ("rows | max(attribute='n')", ROWS[0]),
        ("[3, 1] | min", 1),
        ("{'b': 1, 'a': 2} | dictsort", [["a", 2], ["b", 1]]),
        ("{'b': 1} | items", [["b", 1]]),
        ("[1, 2, 3] | batch(2)", [[1, 2], [3]]),
        ("'abc' | reverse", "cba"),
        ("[1, 2] | last", 2),
        ("2.345 | round(2)", D("2.35")),
        ("2.341 | round(2, 'ceil')", D("2.35")),
        ("'12.9' | int", 12),
        ("'x' | int(0)", 0),
        ("'1.10' | float", D("1.10")),
        ("-5 | abs", 5),
        ("1.50 | tojson", "1.50"),
        ("{'a': [1.0, 'é']} | tojson", '{"a":[1.0,"é"]}'),
        ("' a ' | trim | upper", "A"),
        ("'a b/c' | urlencode", "a%20b%2Fc"),
        ("'<a&b>' | escape", "&lt;a&amp;b&gt;"),
        ("'one two three' | truncate(7)", "one..."),
        ("'one two' | title", "One Two"),
        ("12.50 | string", "12.50"),
    ],
)
def test_filters(leaf: Callable[..., Any], expression: str, value: Any) -> None:
    found = leaf("{{ " + expression.replace("rows", "after.rows") + " }}", after={"rows": ROWS})
    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)


@pytest.mark.parametrize(
    "expression",
    ["'x' | int", "'1,5' | decimal", "none | length", "none | join", "'a' | sum", "[{'a': 1}, {'a': 1}] | index_by('a')",
     "[1, 'a'] | sort", "'x' | cut(-1)", "'x' | cut('1')", "true | decimal", "1 | date_format('%Y')"],
)  # fmt: skip
def test_values_a_filter_cannot_work_with_are_errors(failure: Callable[..., Any], expression: str) -> None:
    assert failure("{{ " + expression + " }}").class_ == "value"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("t | local", "2026-11-24T00:28:19.832462-03:00"),
        ("t | local | date_format('%d/%m/%Y %H:%M')", "24/11/2026 00:28"),
        ("t | date_format('%Y%m%d')", "20261124"),
        ("'2026-11-24T01:00:00' | local", "2026-11-23T22:00:00-03:00"),
        ("'2026-11-24' | local", "2026-11-24"),
        ("'2026-11-24' | date_format('%d.%m.%y')", "24.11.26"),
        ("'0001-01-01' | date_format('%d/%m/%Y %F %G %%Y')", "01/01/0001 0001-01-01 0001 %Y"),
        ("'2026-12-30' | add_days(3)", "2027-01-02"),
        ("t | add_days(-24)", "2026-10-31T03:28:19.832462Z"),
        ("'2026-11-24T03:28:19' | add_days(1)", "2026-11-25T03:28:19"),
        ("t | odata_date", "/Date(1795490899832)/"),
        ("'2026-11-24' | odata_date", "/Date(1795478400000)/"),
        ("'2026-11-24 03:28:19+02' | odata_date", "/Date(1795483699000)/"),
    ],
)
def test_dates(leaf: Callable[..., Any], expression: str, text: str) -> None:
    after = {"t": "2026-11-24T03:28:19.832462Z"}
    expression = expression.replace("t |", "after.t |", 1) if expression.startswith("t |") else expression
    assert leaf("{{ " + expression + " }}", after=after, timezone="America/Santiago") == text


@pytest.mark.parametrize(
    "value", ["infinity", "0044-03-15 BC", "20261124", "24/11/2026", "2026-13-01", "", 20261124]
)
def test_what_is_no_date_is_an_error(failure: Callable[..., Any], value: Any) -> None:
    assert failure("{{ after.d | date_format('%Y') }}", after={"d": value}).class_ == "value"


def test_dates_beyond_the_calendar_are_errors(failure: Callable[..., Any]) -> None:
    assert failure("{{ '9999-12-31' | add_days(1) }}").class_ == "value"


LOOKUP = parse_lookup('code;sap;name\n0123;"00;1";Norte\nNO;2;""\n', "l.csv", "centers")


def test_lookups_translate_and_stay_text(leaf: Callable[..., Any]) -> None:
    lookups = {"centers": LOOKUP}
    assert leaf("{{ '0123' | lookup('centers', 'sap') }}", lookups=lookups) == "00;1"
    assert leaf("{{ 'NO' | lookup('centers', 'name') }}", lookups=lookups) == ""
    assert leaf("{{ 'x' | lookup('centers', 'sap', 'none') }}", lookups=lookups) == "none"
    assert leaf("{{ none | lookup('centers', 'sap', default=none) }}", lookups=lookups) is None
    assert leaf("{{ 'x' | lookup('centers', 'sap') | default('d') }}", lookups=lookups) == "d"


def test_a_miss_is_an_error_and_so_is_a_wrong_table_or_column(
    failure: Callable[..., Any], leaf: Callable[..., Any]
) -> None:
    lookups = {"centers": LOOKUP}
    assert failure("{{ 'x' | lookup('centers', 'sap') }}", lookups=lookups).class_ == "lookup"
    assert failure("{{ none | lookup('centers', 'sap') }}", lookups=lookups).class_ == "lookup"
    for text, says in [
        ("{{ 'x' | lookup('centres', 'sap') }}", "did you mean 'centers'?"),
        ("{{ 'x' | lookup('centers', 'spa') }}", "did you mean 'sap'?"),
        ("{{ 'x' | lookup('centers') }}", "name one"),
        ("{{ 'x' | lookup(after.t) }}", "in quotes"),
    ]:
        with pytest.raises(MappingInvalid, match=says.replace("?", r"\?")):
            leaf(text, lookups=lookups)


def test_numbers_are_looked_up_as_they_are_written(leaf: Callable[..., Any]) -> None:
    lookups = {"t": parse_lookup("\ufeffid,v\r\n7,seven\r\n1.50,x\r\n", "t.csv", "t")}
    assert leaf("{{ 7 | lookup('t') }}", lookups=lookups) == "seven"
    assert leaf("{{ 1.50 | lookup('t') }}", lookups=lookups) == "x"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a,b\n1,2\n1,3\n", 3, "already in line 2"),
        ("a,b\n1\n", 2, "1 values where the header has 2"),
        ("a\n1\n", 1, "header row"),
        ("a,b,b\n", 1, "twice"),
        ('a,b\n"1,2\n', 2, "not valid CSV"),
        ("", 1, "header row"),
    ],
)
def test_a_crosswalk_that_is_wrong_says_where(text: str, line: int, says: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_lookup(text, "lookups/t.csv", "t")
    assert caught.value.line == line
    assert says in caught.value.message


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_filter_ever_gives_a_float(leaf: Callable[..., Any], name: str) -> None:
    for value in ("2.5", "'2.5'", "[2.5, 1]"):
        found = None
        with suppress(MappingInvalid, RenderError):
            found = leaf("{{ " + f"{value} | {name}" + " }}")
        kinds = {type(found), *(type(one) for one in (found if isinstance(found, list) else []))}
        assert float not in kinds


def test_patterns_from_the_event_and_empty_matches(
    leaf: Callable[..., Any], failure: Callable[..., Any]
) -> None:
    assert leaf("{{ 'ñ😀' | regex_replace('x*', '-') }}") == "-ñ-😀-"
    assert failure("{{ 'a' | regex_replace(after.p, '') }}", after={"p": "("}).class_ == "value"
    assert failure("{{ 'a' | regex_replace('a', after.p) }}", after={"p": "\\7"}).class_ == "value"
