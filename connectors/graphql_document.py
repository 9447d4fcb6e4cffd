"""What a GraphQL document asks for: its operations and the variables they declare. Pure.

Only executable documents, with the grammar of the GraphQL specification (October 2021, appendix B). Read here and not by
graphql-core, because processes that render check documents, too: docs/decisions/0027-what-a-graphql-answer-means.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NoReturn, cast

from connectors.protocol import RequestInvalid

LARGEST = 100_000
"""Characters; the documents of whole applications are smaller."""
OperationKind = Literal["query", "mutation", "subscription"]
_KINDS = ("query", "mutation", "subscription")
_TOKEN = re.compile(
    r"""(?P<ignored>(?:[ \t\n\r,\ufeff]|\#[^\n\r]*)+)
    |(?P<punctuator>\.\.\.|[!$&():=@\[\]{}|])
    |(?P<name>[A-Za-z_][0-9A-Za-z_]*)
    |(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9A-Za-z_.])
    |(?P<string>\"\"\"(?>\\\"\"\"|(?!\"\"\")[\s\S])*+\"\"\"
       |"(?!"")(?>[^"\\\n\r]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]+\}))*+")""",
    re.VERBOSE,
)
_END = ("end", "", -1)
_Token = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Operation:
    """variables: each declared one's type, as written. needed: those that must have a value (`!`, no default)."""

    kind: OperationKind
    name: str
    variables: Mapping[str, str]
    needed: frozenset[str]

    @property
    def changes(self) -> bool:
        """Whether it may change something, so that it must not be sent twice for nothing."""
        return self.kind != "query"


@dataclass(frozen=True, slots=True)
class Document:
    operations: tuple[Operation, ...]

    def operation(self, name: str | None) -> Operation:
        """The one that is meant. Raises RequestInvalid."""
        named = {each.name: each for each in self.operations}
        if name is None and len(self.operations) == 1:
            return self.operations[0]
        known = ", ".join(named)
        if name is None:
            raise RequestInvalid(f"request.query holds {known}; write which one as operation_name")
        if name not in named:
            raise RequestInvalid(f"request.operation_name: the query has no operation {name!r}, but {known}")
        return named[name]


@lru_cache(maxsize=2048)
def read_document(text: str) -> Document:
    """Raises RequestInvalid, with the line and the column within the text."""
    if len(text) > LARGEST:
        raise RequestInvalid(f"request.query is longer than {LARGEST} characters")
    try:
        document = Document(tuple(_Reader(text).operations()))
    except RecursionError:
        raise RequestInvalid("request.query is nested too deeply") from None
    if not document.operations:
        raise RequestInvalid("request.query holds no query and no mutation")
    names = [each.name for each in document.operations]
    if len(names) > 1 and ("" in names or len(set(names)) < len(names)):
        raise RequestInvalid("request.query: of several operations each needs a name of its own")
    if any(each.kind == "subscription" for each in document.operations):
        raise RequestInvalid("request.query: a subscription waits for events and delivers none")
    return document


class _Reader:
    """Reads by recursive descent; each method takes what its name says."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenized()
        self._at = 0

    def operations(self) -> list[Operation]:
        found = []
        while self._ahead[0] != "end":
            if self._ahead[1] == "fragment" and self._ahead[0] == "name":
                self._fragment()
            else:
                found.append(self._operation())
        return found

    def _tokenized(self) -> list[_Token]:
        tokens: list[_Token] = []
        offset = 0
        while offset < len(self._text):
            match = _TOKEN.match(self._text, offset)
            if match is None:
                word, *_ = self._text[offset : offset + 10].split() or [self._text[offset]]
                self._refuse(offset, f"unexpected {word!r}")
            if match.lastgroup != "ignored":
                tokens.append((cast("str", match.lastgroup), match[0], offset))
            offset = match.end()
        return [*tokens, _END]

    @property
    def _ahead(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skip(self, punctuator: str) -> bool:
        """Takes the punctuator if it stands here."""
        if self._ahead[:2] == ("punctuator", punctuator):
            self._at += 1
            return True
        return False

    def _take(self, punctuator: str) -> None:
        if not self._skip(punctuator):
            self._unexpected(repr(punctuator))

    def _name(self, wanted: str = "a name") -> str:
        if self._ahead[0] != "name":
            self._unexpected(wanted)
        return self._next()[1]

    def _unexpected(self, wanted: str) -> NoReturn:
        kind, text, offset = self._ahead
        self._refuse(offset, f"expected {wanted}, found {'the end' if kind == 'end' else repr(text)}")

    def _refuse(self, offset: int, message: str) -> NoReturn:
        before = self._text[: offset if offset >= 0 else len(self._text)]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise RequestInvalid(f"request.query, its line {line}, column {column}: {message}")

    def _operation(self) -> Operation:
        if self._ahead[:2] == ("punctuator", "{"):
            self._selections()
            return Operation("query", "", {}, frozenset())
        kind = self._name("query, mutation or {")
        if kind not in _KINDS:
            self._at -= 1
            self._unexpected("query, mutation or {")
        name = self._next()[1] if self._ahead[0] == "name" else ""
        variables, needed = self._variables()
        self._directives()
        self._selections()
        return Operation(cast("OperationKind", kind), name, variables, frozenset(needed))

    def _variables(self) -> tuple[dict[str, str], set[str]]:
        types: dict[str, str] = {}
        needed: set[str] = set()
        if not self._skip("("):
            return types, needed
        while not types or not self._skip(")"):
            self._take("$")
            name = self._name()
            self._take(":")
            types[name] = self._type()
            if self._skip("="):
                self._value(constant=True)
            elif types[name].endswith("!"):
                needed.add(name)
            self._directives(constant=True)
        return types, needed

    def _type(self) -> str:
        if self._skip("["):
            written = f"[{self._type()}]"
            self._take("]")
        else:
            written = self._name("a type")
        return written + "!" if self._skip("!") else written

    def _fragment(self) -> None:
        self._next()
        if self._name() == "on":
            self._at -= 1
            self._unexpected("a fragment's name")
        if self._name("on") != "on":
            self._at -= 1
            self._unexpected("on")
        self._name("a type")
        self._directives()
        self._selections()

    def _selections(self) -> None:
        self._take("{")
        self._selection()
        while not self._skip("}"):
            self._selection()

    def _selection(self) -> None:
        if self._skip("..."):
            self._spread()
            return
        self._name("a field")
        if self._skip(":"):
            self._name("a field")
        self._arguments()
        self._directives()
        if self._ahead[:2] == ("punctuator", "{"):
            self._selections()

    def _spread(self) -> None:
        """A fragment's name, or a fragment in place."""
        if self._ahead[0] == "name" and self._next()[1] != "on":
            self._directives()
            return
        if self._tokens[self._at - 1][1] == "on":
            self._name("a type")
        self._directives()
        self._selections()

    def _arguments(self, *, constant: bool = False) -> None:
        if not self._skip("("):
            return
        self._argument(constant)
        while not self._skip(")"):
            self._argument(constant)

    def _argument(self, constant: bool) -> None:  # noqa: FBT001 — passed on
        self._name("an argument")
        self._take(":")
        self._value(constant=constant)

    def _directives(self, *, constant: bool = False) -> None:
        while self._skip("@"):
            self._name()
            self._arguments(constant=constant)

    def _value(self, *, constant: bool) -> None:
        if self._ahead[0] in {"name", "number", "string"}:
            self._at += 1
        elif not constant and self._skip("$"):
            self._name()
        elif self._skip("["):
            while not self._skip("]"):
                self._value(constant=constant)
        elif self._skip("{"):
            while not self._skip("}"):
                self._argument(constant)
        else:
            self._unexpected("a value")
