import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.yaml_tree import MAX_BYTES, YamlError, load


def plain(text: str) -> Any:
    return load(text, "f.yaml").plain()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        ("0123", 123),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.50", Decimal("1.50")),
        ("1e3", Decimal("1E+3")),
        (".5", Decimal("0.5")),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("'true'", "true"),
        ('"12"', "12"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(written: str, value: Any) -> None:
    found = plain(f"a: {written}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_digits_of_a_decimal_stay() -> None:
    assert str(plain("a: 1273.10")["a"]) == "1273.10"


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\na: 2", 2, 1, "already in line 1"),
        ('{"a": 1, "a": 2}', 1, 10, "already in line 1"),
        ("a: !!str 1", 1, 4, "write the value in quotes"),
        ("a: !secret x", 1, 4, "tags"),
        ("a: &x 1", 1, 4, "anchors (&x)"),
        ("a: 1\nb: *x", 2, 4, "aliases (*x)"),
        ("<<: {a: 1}", 1, 1, "merge keys"),
        ('a: 1\nb: "x\nc: 2', 2, 4, "never closed"),
        (r'a: "x\qy"', 1, 6, "single quotes"),
        ("a: x: y", 1, 5, "colon"),
        ("a:\n  b: 1\n c: 2", 3, 2, "alike"),
        ("a: {{ b }}", 1, 4, 'put the value in quotes: "{{ … }}"'),
        ("a: {{ b | cut(40) }} x", 1, 4, "in quotes"),
        ("a:\n  - {{ b }}", 2, 5, "in quotes"),
        ("a: x/{{ b }}", 1, 4, '"x/{{ b }}"'),
        ("a: {% if b %}1{% endif %}", 1, 5, "in quotes"),
        ("a: .inf", 1, 4, 'write ".inf"'),
        ("a: 1\n---\nb: 1", 2, 1, "more than one document"),
        ("a: [1, 2", 2, 1, "not valid YAML"),
        ("a:\n\tb: 1", 2, 1, "indent with spaces"),
        ("? [a]\n: 1", 1, 3, "a key has to be text"),
    ],
)
def test_what_is_refused_is_refused_where_it_stands(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(YamlError) as caught:
        load(text, "tenants/acme/tenant.yaml")
    assert (caught.value.file, caught.value.line, caught.value.column) == (
        "tenants/acme/tenant.yaml",
        line,
        column,
    )
    assert says in caught.value.message


def test_json_is_read_with_tabs_and_escaped_pairs() -> None:
    text = '\t{"a":\t"\\ud83d\\ude00 \\\\ud83d", "b": "\\/", "c": [1.10, null, true]}'
    assert plain(text) == {"a": "😀 \\ud83d", "b": "/", "c": [Decimal("1.10"), None, True]}


def test_json_pasted_into_yaml_keeps_its_escaped_pairs() -> None:
    assert plain('a: {"b": "\\ud83d\\ude00"}\nc: \'\\ud83d\\ude00\'') == {
        "a": {"b": "😀"},
        "c": "\\ud83d\\ude00",
    }


@pytest.mark.parametrize("text", ['a: "\\ud83d"', '{"a": "\\ude00"}', "a: \ud800"])
def test_half_a_pair_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        load(text, "f.yaml")


def test_hostile_sizes_are_refused() -> None:
    for text in ("[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "a: " + "x" * MAX_BYTES):
        with pytest.raises(YamlError):
            load(text, "f.yaml")


def test_an_empty_file_is_null() -> None:
    assert load("", "f.yaml").is_null
    assert load("# nothing\n", "f.yaml").is_null


def test_unknown_keys_name_the_nearest() -> None:
    section = load("a:\n  dns: x\n  http: 1\n", "bridge.yaml").as_mapping().require("a").as_mapping()
    found = section.unknown_keys(("dsn", "slot"))
    assert [(error.line, error.message) for error in found] == [
        (2, "unknown key 'dns' in a; did you mean 'dsn'?"),
        (3, "unknown key 'http' in a; known: dsn, slot"),
    ]


def test_typed_access_says_what_stands_there() -> None:
    root = load("key: 0471\nsize: x\nlist: {a: 1}\n", "t.yaml").as_mapping()
    with pytest.raises(
        YamlError, match=r't\.yaml:1:6: key: expected text, not the number 0471; write "0471"'
    ):
        root.require("key").as_text()
    with pytest.raises(YamlError, match="expected a whole number, not the text 'x'"):
        root.require("size").as_int()
    with pytest.raises(YamlError, match="expected a list, not a mapping"):
        root.require("list").as_sequence()
    with pytest.raises(YamlError, match="key 'timezone' is missing"):
        root.require("timezone")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé \"'\\:{}", max_size=6), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_any_json_reads_back(value: Any, ascii_only: Any) -> None:
    assert plain(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.text())
def test_any_text_gives_nodes_or_an_error_that_names_the_place(text: str) -> None:
    try:
        mark = load(text, "f.yaml").mark
    except YamlError as error:
        mark = error.mark
    assert mark.file == "f.yaml"
    assert mark.line >= 1
    assert mark.column >= 1
