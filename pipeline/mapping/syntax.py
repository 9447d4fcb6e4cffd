"""Jinja's grammar, and nothing of its machinery.

Jinja parses; the tree it gives is evaluated by `expressions`. So there is no Python object to escape to, no
constant folding to set a bomb off at compile time, and a literal such as 1.10 keeps the digits written.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import TOKEN_FLOAT, Lexer, Token
from jinja2.parser import Parser

MAX_SOURCE = 20_000
REMEMBERED = 500
"""Characters: of more than that, the trees of many variants would take too much room."""


class SyntaxInvalid(Exception):
    """The text is no Jinja; the message says why."""


class _ExactLexer(Lexer):
    def wrap(
        self, stream: Iterable[tuple[int, str, str]], name: str | None = None, filename: str | None = None
    ) -> Iterator[Token]:
        """Jinja's tokens, the decimal ones made from their digits."""
        written: deque[str] = deque()

        def noting() -> Iterator[tuple[int, str, str]]:
            for item in stream:
                if item[1] == TOKEN_FLOAT:
                    written.append(item[2])
                yield item

        for token in super().wrap(noting(), name, filename):
            if token.type == TOKEN_FLOAT:
                exact = Decimal(written.popleft().replace("_", ""))
                yield Token(token.lineno, TOKEN_FLOAT, exact)  # type: ignore[arg-type]  # the parser takes any value
            else:
                yield token


class _Grammar(Environment):
    @cached_property
    def lexer(self) -> Lexer:
        return _ExactLexer(self)


_GRAMMAR = _Grammar(autoescape=False, optimized=False)


def is_template(text: str) -> bool:
    """Whether a leaf holds anything for Jinja."""
    return "{{" in text or "{%" in text or "{#" in text


def parse_template(text: str) -> list[nodes.Node]:
    """A leaf's parts: Output, If, For, … Raises SyntaxInvalid."""
    return _parsed(text, _template)


def _template(text: str) -> list[nodes.Node]:
    return _GRAMMAR.parse(text).body


def parse_expression(text: str) -> nodes.Expr:
    """A bare expression. Raises SyntaxInvalid."""
    if "{{" in text or "{%" in text:
        raise SyntaxInvalid("write the expression bare, without {{ }} or {% %}")

    return _parsed(text, _expression)


def _expression(text: str) -> nodes.Expr:
    parser = Parser(_GRAMMAR, text, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        unexpected = f"unexpected {parser.stream.current.value!r} after the expression"
        raise SyntaxInvalid(unexpected + _advice(text))
    return expression


def tokens(text: str, *, bare: bool) -> list[tuple[str, str]]:
    """A leaf's tokens with what is between them, kind and text. bare: without braces. Raises SyntaxInvalid."""
    state = "variable" if bare else None

    def lex(text: str) -> list[tuple[str, str]]:
        return [(kind, written) for _, kind, written in _GRAMMAR.lexer.tokeniter(text, None, None, state)]

    return _parsed(text, lex)


_Memory: TypeAlias = dict[tuple[str, Any], Any]
_memory: ContextVar[_Memory | None] = ContextVar("memory", default=None)


@contextmanager
def remembering(memory: _Memory) -> Iterator[None]:
    """What is parsed inside is parsed once: for who compiles nearly the same again and again."""
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)


_FOREIGN = (
    (re.compile(r"&&"), "write `and` for &&"),
    (re.compile(r"\|\|"), "write `or` for ||"),
    (re.compile(r"\?"), "write `a if condition else b` for condition ? a : b"),
    (re.compile(r"===|!==|<>|(?<![=!<>])=(?!=)"), "write == to compare, != for unequal"),
    (re.compile(r"!(?!=)"), "write `not` for !"),
)
"""What people bring from other languages, and Jinja refuses."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def _advice(text: str) -> str:
    code = _QUOTED.sub("''", text)
    return next((f"; {advice}" for pattern, advice in _FOREIGN if pattern.search(code)), "")


_T = TypeVar("_T")


def _parsed(text: str, parse: Callable[[str], _T]) -> _T:
    memory = _memory.get()
    if memory is None or len(text) > REMEMBERED or parse not in (_template, _expression):
        return _parsed_anew(text, parse)
    key = (text, parse)
    if key not in memory:
        memory[key] = _parsed_anew(text, parse)
    known: _T = memory[key]
    return known


def _parsed_anew(text: str, parse: Callable[[str], _T]) -> _T:
    if len(text) > MAX_SOURCE:
        raise SyntaxInvalid(f"longer than {MAX_SOURCE} characters")
    try:
        return parse(text)
    except TemplateSyntaxError as error:
        raise SyntaxInvalid(f"not valid Jinja: {error.message}{_advice(text)}") from None
    except RecursionError:
        raise SyntaxInvalid("nested too deeply; compute parts of it in vars") from None
    except (ValueError, ArithmeticError):
        raise SyntaxInvalid("holds a number that is too long") from None
