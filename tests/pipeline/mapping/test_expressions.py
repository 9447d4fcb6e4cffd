from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid

D = Decimal


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2", 3),
        ("0.1 + 0.2", D("0.3")),
        ("1.10", D("1.10")),
        ("1_000.5", D("1000.5")),
        ("10 / 4", D("2.5")),
        ("10 / 5", D(2)),
        ("1 / 3", D("0.3333333333333333333333333333333333")),
        ("7 // 2", 3),
        ("-7 // 2.0", -4),
        ("-7 % 3", 2),
        ("-7.5 % 2", D("0.5")),
        ("2 ** 100", 2**100),
        ("after.cost * 3", D("3819.30")),
        ("after.big * 1.5", D("18518518351851851835184.5")),
        ("after.big + 1", 12345678901234567890124),
        ("-after.cost", D("-1273.10")),
        ("'a' ~ 1 ~ true ~ 1.50", "a1true1.50"),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("1 == 1.0", True),
        ("1 == true", False),
        ("'1' == 1", False),
        ("1 < 2 <= 2.0", True),
        ("3 in [1, 3.0]", True),
        ("'b' in 'abc'", True),
        ("'x' not in {'a': 1}", True),
        ("after.s[1:3]", "bc"),
        ("[1, 2, 3][-1]", 3),
        ("1 if after.s else 2", 1),
        ("{'a': [1, none], 'b': null}", {"a": [1, None], "b": None}),
        ("not []", True),
        ("after.missing is defined", False),
        ("after.s is string and after.s is not none", True),
        ("range(3)", [0, 1, 2]),
        ("range(1, 3)", [1, 2]),
        ("4 is even and 3 is odd and 9 is divisibleby(3) and 4 is not divisibleby(3)", True),
        ("[3 > 2, 2 >= 2.0, 'a' < 'b', 1 != 2, 1 is ge(2)]", [True, True, True, True, False]),
        ("+1", 1),
        ("[5, 6][after.cost // 1273]", 6),
        ("{'7': 'seven'}[7]", "seven"),
        ("after['s']", "abcd"),
        ("1 == none", False),
    ],
)
def test_expressions(leaf: Callable[..., Any], expression: str, value: Any) -> None:
    after = {"cost": D("1273.10"), "big": 12345678901234567890123, "s": "abcd"}
    found = leaf("{{ " + expression + " }}", after=after)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "expression",
    [
        "'1' + 1",
        "true + 1",
        "'a' < 1",
        "none < 1",
        "1 / 0",
        "1 % 0",
        "1 // 0.0",
        "1 in 2",
        "'x' * 3",
        "'x' is odd",
        "3 is divisibleby(0)",
        "5[:2]",
        "[1][:'a']",
        "range('a')",
        "2 ** -1",
    ],
)
def test_what_makes_no_sense_is_an_error_that_says_so(failure: Callable[..., Any], expression: str) -> None:
    error = failure("{{ " + expression + " }}")
    assert error.class_ == "value"
    assert error.line == 7


@pytest.mark.parametrize(
    ("leaf_text", "says"),
    [
        ("{{ after.code.upper() }}", "write after.code | upper"),
        ("{{ upper(after.code) }}", "write … | upper"),
        ("{{ saved('r', 'k') }}", "write saved('route', key, 'name')"),
        ("{{ steps.find }}", "no 'steps' here"),
        ("{{ body.id }}", "no 'body' here"),
        ("{{ wait_for() }}", "write wait_for("),
        ("{{ saved }}", "saved is a function"),
        ("{{ after.x | cutt(4) }}", "did you mean 'cut'?"),
        ("{{ after.x | cut }}", "it is written cut(n)"),
        ("{{ after.x | cut(1, 2) }}", "cut"),
        ("{{ after.x is strng }}", "did you mean 'string'?"),
        ("{{ params.plant }}", "no 'plant' declared under params"),
        ("{{ vars.x }}", "no 'x' in the vars above"),
        ("{{ event.sorce }}", "did you mean 'source'?"),
        ("{{ 'a' if after.x }}", "needs an else"),
        ("{{ changed() }}", "changed('column')"),
        ("{{ after.x | regex_replace('(?=a)', '') }}", "RE2"),
        ("{{ after.x", "not valid Jinja"),
        ("{{ after.x }", "not valid Jinja"),
        ("{% foo %}", "not valid Jinja"),
    ],
)
def test_what_cannot_work_is_found_before_any_event(
    leaf: Callable[..., Any], leaf_text: str, says: str
) -> None:
    with pytest.raises(MappingInvalid) as caught:
        leaf(leaf_text)
    assert says in str(caught.value)
    assert caught.value.findings[0].mark.line == 7


@pytest.mark.parametrize("expression", ["[1][5]", "[][0]", "5[0]", "{}.a", "'x'.upper", "none.a"])
def test_elements_that_are_not_there_are_missing(failure: Callable[..., Any], expression: str) -> None:
    assert failure("{{ " + expression + " }}").class_ == "missing"


def test_all_findings_come_at_once(compiled: Callable[..., Any]) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compiled('when: "{{ a }}"\nenrch: {}\nskip_if: aftr.x\nrepeat: upsrt\nrequire: [1]\n')
    lines = [finding.mark.line for finding in caught.value.findings]
    assert lines == [6, 7, 8, 9, 10]


def test_a_set_in_one_leaf_is_not_seen_in_another(body: Callable[..., Any]) -> None:
    with pytest.raises(MappingInvalid, match="unknown name 'x'"):
        body('a: "{% set x = 1 %}{{ x }}"\nb: "{{ x }}"')
