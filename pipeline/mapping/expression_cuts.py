"""What can be cut out of a leaf's text: its filters, either side of its choices, parts of its logic. Pure.

    {{ after.name | trim | cut(3) }}     without `| trim`, without `| cut(3)`
    {{ 'a' if after.x else 'b' }}        as if `after.x` were always true, or always false

Found by Jinja's own lexer, so that a `|` in a text is none.
"""

import re
from collections.abc import Iterator

from pipeline.mapping.logic_cuts import CLOSING, ENDS, OPENING, Cut, Token, logic_cuts, written
from pipeline.mapping.syntax import SyntaxInvalid, tokens

_GIVES_A_LIST = re.compile(r"\|\s*(?:map|reject|rejectattr|select|selectattr|unique)\b[^|]*$")


def cuts(text: str, *, bare: bool) -> Iterator[Cut]:
    """bare: the text is an expression without braces. Nothing where it is no Jinja."""
    try:
        found = [Token(*token) for token in tokens(text, bare=bare)]
    except SyntaxInvalid:
        return
    for at, token in enumerate(found):
        if token == ("operator", "|") and not _is_habit(found, at):
            yield _without_filter(found, at)
        elif token.kind == "name" and token.text in {"if", "elif"}:
            yield from _choices(found, at)
    yield from logic_cuts(found)


def _is_habit(found: list[Token], at: int) -> bool:
    """Whether it is the `| list` that Jinja wants behind these, and that changes nothing here: they give lists."""
    name = _next(found, at + 1)
    return (
        name < len(found)
        and found[name].text == "list"
        and _GIVES_A_LIST.search(written(found[:at])) is not None
    )


def _without_filter(found: list[Token], at: int) -> Cut:
    name = _next(found, at + 1)
    end = name + 1
    opened = _next(found, end)
    if opened < len(found) and found[opened] == ("operator", "("):
        end = _end(found, opened + 1, frozenset()) + 1
    before = written(found[:at]).rstrip(" ")
    return Cut(f"`{written(found[at:end])}` is left out", f"{before}{written(found[end:])}")


def _choices(found: list[Token], at: int) -> Iterator[Cut]:
    end = _end(found, at + 1, frozenset({"else"}))
    condition = written(found[at + 1 : end]).strip()
    for word in ("true", "false"):
        changed = f"{written(found[: at + 1])} {word} {written(found[end:])}"
        yield Cut(f"`{condition}` is always {word}", changed)


def _end(found: list[Token], start: int, words: frozenset[str]) -> int:
    """Where what begins at `start` ends: at a bracket it did not open, at one of the words, or at the braces."""
    depth = 0
    for at in range(start, len(found)):
        kind, text = found[at]
        if kind in ENDS or (depth == 0 and kind == "name" and text in words):
            return at
        if kind == "operator":
            depth += (text in OPENING) - (text in CLOSING)
            if depth < 0:
                return at
    return len(found)


def _next(found: list[Token], at: int) -> int:
    while at < len(found) and found[at].kind == "whitespace":
        at += 1
    return at
