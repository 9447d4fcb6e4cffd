from typing import Any

import pytest

from pipeline.mapping.expression_cuts import cuts


@pytest.mark.parametrize(
    ("text", "bare", "without"),
    [
        ("{{ a.b | trim | cut(3) }}", False, ["{{ a.b | cut(3) }}", "{{ a.b | trim }}"]),
        ("x | y {{ a|upper }} z", False, ["x | y {{ a }} z"]),
        ("{{ 'a|b' | cut( (1 + 2) ) ~ '|' }}", False, ["{{ 'a|b' ~ '|' }}"]),
        (
            "part in a | selectattr('t', 'eq', (1 | int)) | list",
            True,
            [
                "part in a | list",
                "part in a | selectattr('t', 'eq', (1)) | list",
                "part in a | selectattr('t', 'eq', (1 | int))",
            ],
        ),
        ("{{ a | selectattr('t', 'eq', 1) | list }}", False, ["{{ a | list }}"]),
        ("{{ a | items | list }}", False, ["{{ a | list }}", "{{ a | items }}"]),
        ("after.a == 1", True, []),
        ("{{ a | (", False, ["{{ a"]),
        ("{{ 'not closed }}", False, []),
        ("no template | at all", False, []),
    ],
)
def test_filters_are_left_out(text: str, bare: Any, without: list[str]) -> None:
    assert [cut.text for cut in cuts(text, bare=bare)] == without


def test_choices_are_always_one_way() -> None:
    found = list(cuts("{{ 'a' if b.c | length > (1) else 'c' if d else e }}", bare=False))
    assert [cut.what for cut in found] == [
        "`b.c | length > (1)` is always true",
        "`b.c | length > (1)` is always false",
        "`| length` is left out",
        "`d` is always true",
        "`d` is always false",
    ]
    assert found[1].text == "{{ 'a' if false else 'c' if d else e }}"
    assert found[3].text == "{{ 'a' if b.c | length > (1) else 'c' if true else e }}"


def test_and_so_are_branches_of_a_text() -> None:
    text = "{% if a %}x{% elif [b, (c)] %}z{% else %}y{% endif %}"
    assert [cut.text for cut in cuts(text, bare=False)][:4] == [
        "{% if true %}x{% elif [b, (c)] %}z{% else %}y{% endif %}",
        "{% if false %}x{% elif [b, (c)] %}z{% else %}y{% endif %}",
        "{% if a %}x{% elif true %}z{% else %}y{% endif %}",
        "{% if a %}x{% elif false %}z{% else %}y{% endif %}",
    ]


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("a and b", {"a": "b", "b": "a"}),
        ("a or b and not c", {"a": "b and not c", "b and not c": "a", "b": "a or not c", "not c": "a or b"}),
        ("not (3 in t or 1 in t)", {"3 in t": "not (1 in t)", "1 in t": "not (3 in t)"}),
        (
            "s in ['A', f(1, 2)] and x[0]",
            {"'A'": "s in [f(1, 2)] and x[0]", "f(1, 2)": "s in ['A'] and x[0]"},
        ),
        ("[a, b] == c | d(e[0], [f])", {"a": "[b] == c | d(e[0], [f])", "b": "[a] == c | d(e[0], [f])"}),
    ],
)
def test_operands_and_elements_are_left_out(text: str, without: dict[str, str]) -> None:
    found = {cut.what: " ".join(cut.text.split()) for cut in cuts(text, bare=True)}
    found = {
        what: cut.replace("( ", "(").replace(" )", ")").replace("[ ", "[") for what, cut in found.items()
    }
    assert {f"`{part}` is left out": rest for part, rest in without.items()}.items() <= found.items()
