"""The grammar of executable documents; graphql-core is the judge."""

from typing import Any

import pytest
from graphql import (
    DocumentNode,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    parse,
    visit,
)
from hypothesis import given
from hypothesis import strategies as st

from connectors.graphql_document import read_document
from connectors.protocol import RequestInvalid

CREATE = """
# a purchase order, its lines and who asked for them
mutation Create($input: [In!]! = [{n: 1.5e3, s: "\\u00e9\\"{}"}], $key: ID!, $note: String @x(a: [1, {b: 2}])) @live {
  created: create(input: $input, where: {key: {eq: $key}}, text: \"\"\"a "quoted" \\\"\"\" block\"\"\", on: ON, n: null)
    @include(if: true) { ...Order, ... on Line @skip(if: $note) { on fragment query } ... @defer { lines { id } } }
}
fragment Order on PurchaseOrder { id number }
query Orders { orders(first: -1) { totalCount } }
"""
TOKENS = [
    "{", "}", "(", ")", "[", "]", ":", "=", "!", "$", "@", "...", "|", "&", "mutation", "query", "on", "fragment", "a",
    "A", "1", "-0", "01", "1.5", "1.", '"s"', '"', '"""b"""', "#c\n", ",", "true", "null", "\\", "é", "%",
]  # fmt: skip
documents = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=14).map(" ".join)


@st.composite
def nearly_right(draw: st.DrawFn) -> str:
    """A right document with one of its words gone, doubled or replaced."""
    words = CREATE.replace("{", " { ").replace("}", " } ").replace("(", " ( ").replace(")", " ) ").split(" ")
    at = draw(st.integers(0, len(words) - 1))
    words[at : at + 1] = draw(st.sampled_from([[], [words[at]] * 2, [draw(st.sampled_from(TOKENS))]]))
    return " ".join(words)


def by_graphql_core(text: str) -> list[OperationDefinitionNode] | None:
    """The operations; None where it is no executable document, or one without operations."""
    try:
        document = parse(text)
    except GraphQLSyntaxError:
        return None
    definitions = document.definitions
    if selects_nothing(document):  # graphql-core takes `{}`, the specification does not
        return None
    found = [each for each in definitions if isinstance(each, OperationDefinitionNode)]
    executable = all(each.kind in {"operation_definition", "fragment_definition"} for each in definitions)
    return found if executable and found else None


def selects_nothing(document: DocumentNode) -> bool:
    found = []

    class Looking(Visitor):
        def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> None:
            found.append(not node.selections)

    visit(document, Looking())
    return any(found)


def by_us(text: str) -> list[tuple[str, str, list[str]]] | None:
    try:
        document = read_document(text)
    except RequestInvalid as error:
        return [] if "of several operations" in str(error) else None
    return [(each.kind, each.name, list(each.variables)) for each in document.operations]


@given(st.one_of(documents, nearly_right()))
def test_what_graphql_core_reads_is_read_and_nothing_else(text: str) -> None:
    theirs, ours = by_graphql_core(text), by_us(text)
    assert (theirs is None) == (ours is None)
    if theirs and ours:
        assert ours == [
            (
                each.operation.value,
                each.name.value if each.name else "",
                [one.variable.name.value for one in each.variable_definitions or ()],
            )
            for each in theirs
        ]


def test_operations_variables_and_what_must_be_given() -> None:
    document = read_document(CREATE)
    create, orders = document.operations
    assert (create.kind, create.name, create.changes) == ("mutation", "Create", True)
    assert create.variables == {"input": "[In!]!", "key": "ID!", "note": "String"}
    assert create.needed == {"key"}
    assert not orders.changes
    assert document.operation("Orders") is orders


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mutation {\n  create {\n  }\n}", "line 3, column 3: expected a field, found '}'"),
        ("{ a(b: 01) }", "line 1, column 8: unexpected '01)'"),
        ('{ a(b: "x\n") }', "line 1, column 8: unexpected"),
        ("{ a }\xa0", "line 1, column 6: unexpected '\\xa0'"),  # as editors and web pages put it
        ("{ a", "line 1, column 4: expected a field, found the end"),
        ("mutaton { a }", "expected query, mutation or {, found 'mutaton'"),
        ("fragment on on X { a }", "expected a fragment's name"),
        ("query ($a: Int = $b) { a }", "expected a value, found '$'"),
        ("type A { b: Int }", "expected query, mutation or {"),
        ("fragment F on X { a }", "no query and no mutation"),
        ("", "no query and no mutation"),
        ("subscription { a }", "a subscription"),
        ("query A { a } query A { a }", "a name of its own"),
        ("{ a " * 3000, "nested too deeply"),
        (" " * 100_001, "longer than"),
    ],
)
def test_what_is_wrong_and_where(text: str, says: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_document(text)
    assert says in str(caught.value)
    assert str(caught.value).startswith("request.query")


def test_which_operation_is_meant() -> None:
    two = read_document("mutation A { a } mutation B { b }")
    with pytest.raises(RequestInvalid, match="holds A, B; write which one as operation_name"):
        two.operation(None)
    with pytest.raises(RequestInvalid, match="no operation 'C', but A, B"):
        two.operation("C")


def test_a_string_that_never_ends_takes_no_time() -> None:
    with pytest.raises(RequestInvalid, match="unexpected"):
        read_document('{ a(b: """' + '\\"' * 30_000)
