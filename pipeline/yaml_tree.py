"""Read YAML 1.2 (core schema) into nodes with marks; JSON is YAML.

libyaml scans and parses; what a plain scalar means is decided here, because PyYAML's own resolver speaks
YAML 1.1, where `NO` is false and `12:30:45` a number. What people write by mistake is refused with the text
to write instead: duplicate keys, tags, anchors, merge keys, unquoted `{{`. Without anchors no alias bomb can
be written; depth and size are bounded.

Source: YAML 1.2.2, chapter 10.3 (core schema).
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import yaml

from pipeline.yaml_nodes import (
    Entry,
    MappingNode,
    Mark,
    Node,
    Plain,
    Scalar,
    ScalarNode,
    SequenceNode,
    YamlError,
    nearest,
)

__all__ = [
    "Entry",
    "MappingNode",
    "Mark",
    "Node",
    "Plain",
    "Scalar",
    "ScalarNode",
    "SequenceNode",
    "YamlError",
    "load",
    "load_file",
    "nearest",
]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NUMBER_LENGTH = 400
MAX_RESPELLINGS = 100
MAX_RESPELT = 100_000

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMBER_START = frozenset("+-.0123456789")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_SURROGATE_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


def load_file(path: Path) -> Node:
    """Read one YAML or JSON file.

    Raises:
        YamlError: unreadable, not UTF-8, or anything `load` refuses.
    """
    file = str(path)
    try:
        return load(path.read_bytes().decode("utf-8-sig"), file)
    except OSError as error:
        raise YamlError(Mark(file, 1, 1), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise YamlError(
            Mark(file, 1, 1),
            f"is not UTF-8 at byte {error.start}; save the file as UTF-8",
        ) from None


def load(text: str, file: str) -> Node:
    """Parse one document. An empty text is a null scalar.

    Raises:
        YamlError: the text is not one YAML document within the bounds, or uses what is refused.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlError(Mark(file, 1, 1), f"is larger than {MAX_BYTES} bytes")
    text = _json_as_yaml(text.removeprefix("\ufeff"))
    try:
        return _parsed(text, file)
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise YamlError(Mark(file, line, 1), "holds half of a surrogate pair; write the character") from None


def _json_as_yaml(text: str) -> str:
    """JSON that libyaml refuses, respelt: tabs between tokens, and a character escaped as two halves."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return text
    return _SURROGATE_PAIR.sub(_join_pair, text.replace("\t", " "))


def _parsed(text: str, file: str, respellings: int = MAX_RESPELLINGS) -> Node:
    try:
        return _Builder(file, yaml.parse(text, Loader=yaml.CLoader)).document()
    except yaml.YAMLError as error:
        # libyaml stops where a double-quoted text has JSON's spelling of a character beyond U+FFFF
        mark = getattr(error, "problem_mark", None)
        start = mark.index - len("\\u") if mark is not None and "escape code" in str(error) else -1
        if (
            respellings
            and len(text) <= MAX_RESPELT
            and start >= 0
            and (match := _SURROGATE_PAIR.match(text, start))
        ):
            respelt = text[:start] + _join_pair(match) + text[match.end() :]
            return _parsed(respelt, file, respellings - 1)
        raise _syntax_error(error, text, file) from None


def _join_pair(match: re.Match[str]) -> str:
    high, low = int(match[2], 16), int(match[3], 16)
    return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08X}"


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> YamlError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        line = text.encode()[:position].count(b"\n") + 1
        return YamlError(
            Mark(file, line, 1),
            "holds a control character that YAML does not allow; remove it",
        )
    lines = text.splitlines()
    written = lines[mark.line] if mark.line < len(lines) else ""
    problem = getattr(error, "problem", None) or "cannot be parsed"
    if problem == "found unexpected end of stream" and (start := getattr(error, "context_mark", None)):
        mark, problem = start, "the quote that opens here is never closed"
    elif advice := _advice(problem, written):
        problem += f"; {advice}"
    return YamlError(Mark(file, mark.line + 1, mark.column + 1), f"is not valid YAML: {problem}")


def _advice(problem: str, written: str) -> str:
    """What to write instead, as far as libyaml's complaint and the line tell it."""
    if "escape code" in problem:
        return "write the character itself"
    if "unknown escape" in problem:
        return r"in double quotes a backslash begins an escape: write \\, or the text in single quotes"
    if "{{" in written or "{%" in written:
        return 'put values with {{ … }} or {% … %} in quotes: "{{ … }}"'
    if problem.startswith("mapping values are not allowed"):
        return "put a text with a colon in it in quotes"
    if problem.startswith("did not find expected"):
        return "indent the keys of one object alike, and put a text with brackets, braces, commas or quotes in quotes"
    return "indent with spaces, not with tabs" if "\t" in written else ""


class _Builder:
    """Turns libyaml's events into nodes, refusing what is refused where it stands."""

    def __init__(self, file: str, events: Iterator[yaml.Event]) -> None:
        self._file = file
        self._events = events

    def document(self) -> Node:
        next(self._events)  # StreamStart
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            return ScalarNode(Mark(self._file, 1, 1), None, "", quoted=False)
        root = self._node(next(self._events), "", MAX_DEPTH)
        next(self._events)  # DocumentEnd
        if isinstance(event := next(self._events), yaml.DocumentStartEvent):
            raise YamlError(
                self._mark(event, ""),
                "holds more than one document; remove the `---` between them",
            )
        return root

    def _mark(self, event: yaml.Event, path: str) -> Mark:
        start = event.start_mark
        assert start is not None  # libyaml marks every event
        return Mark(self._file, start.line + 1, start.column + 1, path)

    def _node(self, event: yaml.Event, path: str, depth: int) -> Node:
        mark = self._mark(event, path)
        _refuse_anchors_and_tags(event, mark)
        if depth == 0:
            raise YamlError(mark, f"is nested deeper than {MAX_DEPTH} levels")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(mark, flow=bool(event.flow_style), depth=depth - 1)
            case yaml.SequenceStartEvent():
                return self._sequence(mark, depth - 1)
            case yaml.ScalarEvent():
                return _scalar(event, mark)
            case _:
                raise YamlError(mark, "is not valid YAML")

    def _sequence(self, mark: Mark, depth: int) -> SequenceNode:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{mark.path}[{len(items)}]", depth))
        return SequenceNode(mark, tuple(items))

    def _mapping(self, mark: Mark, *, flow: bool, depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if flow and isinstance(event, yaml.MappingStartEvent) and event.flow_style and not entries:
                raise YamlError(mark, 'unquoted {{: put the value in quotes: "{{ … }}"')
            entry = self._entry(event, mark.path, depth)
            if (first := entries.get(entry.key)) is not None:
                raise YamlError(
                    entry.mark,
                    f"key {entry.key!r} is already in line {first.mark.line}; remove one of the two",
                )
            entries[entry.key] = entry
        return MappingNode(mark, tuple(entries.values()))

    def _entry(self, event: yaml.Event, parent: str, depth: int) -> Entry:
        node = self._node(event, parent, depth)
        if not isinstance(node, ScalarNode):
            raise node.error("a key has to be text")
        if node.text == "<<" and not node.quoted:
            raise node.error("merge keys (<<) are not read; write the keys out")
        path = f"{parent}.{node.text}" if parent else node.text
        return Entry(
            node.text,
            self._mark(event, path),
            self._node(next(self._events), path, depth),
        )


def _refuse_anchors_and_tags(event: yaml.Event, mark: Mark) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise YamlError(mark, f"aliases (*{event.anchor}) are not read; write the value out")
    if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        raise YamlError(mark, f"anchors (&{event.anchor}) are not read; write the value out where it is used")
    if (tag := getattr(event, "tag", None)) is not None:
        raise YamlError(
            mark, f"tags ({tag}) are not read; for text write the value in quotes, else leave the tag out"
        )


def _scalar(event: yaml.ScalarEvent, mark: Mark) -> ScalarNode:
    text: str = event.value
    if event.style:
        return ScalarNode(mark, text, text, quoted=True)
    if "{{" in text:
        raise YamlError(mark, f'unquoted {{{{: put the whole value in quotes: "{text[:80]}"')
    return ScalarNode(mark, _plain(text, mark), text, quoted=False)


def _plain(text: str, mark: Mark) -> Scalar:
    """What a plain scalar means in the core schema. Decimals keep the digits written."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START or len(text) > MAX_NUMBER_LENGTH:
        return text
    if _NOT_FINITE.fullmatch(text):
        raise YamlError(mark, f'{text} is no number that JSON has; for text write "{text}"')
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return Decimal(text) if _FLOAT.fullmatch(text) else text
