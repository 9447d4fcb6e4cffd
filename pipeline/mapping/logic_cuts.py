"""What can be cut out of logic: an operand of `and` and `or`, an element of a list that is written out. Pure.

status == 400 and body.code in ['A', 'B']     without `status == 400`, without `'A'`, …
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
ENDS = frozenset({"variable_end", "block_end"})
_BEGINS = frozenset({"variable_begin", "block_begin", "data"})
_BETWEEN = frozenset({",", "=", ":"})
_PARTS = frozenset({"if", "elif", "else", "for", "set"})
_VALUES = frozenset({"name", "string", "integer", "float"})
_WORDS_BEFORE_A_LIST = frozenset({"in", "not", "and", "or", "if", "elif", "else", "is"})


class Token(NamedTuple):
    """Of Jinja's lexer; text: as it is written."""

    kind: str
    text: str


class Cut(NamedTuple):
    """what: in words, as in "`| trim` is left out". text: the leaf without it."""

    what: str
    text: str


def written(found: Sequence[Token]) -> str:
    return "".join(token.text for token in found)


def logic_cuts(found: Sequence[Token]) -> Iterator[Cut]:
    for start, end in _segments(found):
        alternatives = _split(found, start, end, "or")
        yield from _without_each(found, alternatives)
        for one in alternatives:
            yield from _without_each(found, _split(found, *one, "and"))
    for at, token in enumerate(found):
        if token == ("operator", "[") and _begins_a_list(found, at):
            yield from _without_each(found, _elements(found, at))


Span = tuple[int, int]


def _without_each(found: Sequence[Token], spans: Sequence[Span]) -> Iterator[Cut]:
    """Each of several without what stands between it and its neighbour."""
    if len(spans) < 2:
        return
    for index, (start, end) in enumerate(spans):
        first = spans[index - 1][1] if index else start
        last = end if index else spans[1][0]
        part = written(found[start:end]).strip()
        yield Cut(f"`{part}` is left out", f"{written(found[:first])}{written(found[last:])}")


def _segments(found: Sequence[Token]) -> Iterator[Span]:
    """Expressions that brackets, commas and words such as `if` part from one another: what `and` and `or` may join."""
    starts: list[int] = [0]
    for at, (kind, text) in enumerate(found):
        if kind in _BEGINS:
            starts[-1] = at + 1
        elif kind == "operator" and text in OPENING:
            starts.append(at + 1)
        elif kind == "operator" and text in CLOSING and len(starts) > 1:
            yield starts.pop(), at
        elif kind in ENDS or (kind == "operator" and text in _BETWEEN) or (kind == "name" and text in _PARTS):
            yield starts[-1], at
            starts[-1] = at + 1
    yield starts[-1], len(found)


def _split(found: Sequence[Token], start: int, end: int, word: str) -> list[Span]:
    """Around a word that stands in no bracket."""
    spans, depth, first = [], 0, start
    for at in range(start, end):
        kind, text = found[at]
        if kind == "operator":
            depth += (text in OPENING) - (text in CLOSING)
        elif depth == 0 and (kind, text) == ("name", word):
            spans.append((first, at))
            first = at + 1
    return [*spans, (first, end)]


def _elements(found: Sequence[Token], at: int) -> list[Span]:
    """Of the list that begins at a bracket."""
    spans, depth, first = [], 0, at + 1
    for index in range(at + 1, len(found)):
        kind, text = found[index]
        if kind != "operator":
            continue
        if depth == 0 and text in {",", "]"}:
            spans.append((first, index))
            first = index + 1
            if text == "]":
                break
        depth += (text in OPENING) - (text in CLOSING)
    return spans


def _begins_a_list(found: Sequence[Token], at: int) -> bool:
    """And not the index of what stands before it."""
    before = next((token for token in reversed(found[:at]) if token.kind != "whitespace"), None)
    if before is None or before.kind in _BEGINS:
        return True
    if before.kind == "name":
        return before.text in _WORDS_BEFORE_A_LIST
    return before.kind not in _VALUES and before.text not in CLOSING
