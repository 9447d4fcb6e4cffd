"""Trees: objects and lists of leaves, shaped by `$for $if $else $value $key $merge`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.mapping.errors import EvaluationError, RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import MEASURE, Reader, elements_of, loop
from pipeline.mapping.syntax import SyntaxInvalid, is_template
from pipeline.mapping.values import OMIT, Frame, Value, kind_of, text_of
from pipeline.yaml_tree import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode

RESERVED = ("$for", "$if", "$else", "$value", "$key", "$merge")
_FOR = re.compile(r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s+in\s+(?P<list>.+)", re.DOTALL)


CompileMember: TypeAlias = Callable[[Entry, Reader], Evaluator]
"""How the value of an object's key is compiled."""


def compile_value(entry: Entry, reader: Reader) -> Evaluator:
    """As a tree."""
    return compile_tree(entry.value, reader)


@dataclass(slots=True)
class _Keys:
    """An object's keys, taken apart. member: of those that are not reserved."""

    member: CompileMember
    reserved: dict[str, Entry] = field(default_factory=dict)
    members: list[tuple[str, Entry]] = field(default_factory=list)


def compile_tree(node: Node, reader: Reader, member: CompileMember = compile_value) -> Evaluator:
    """The closure that gives the tree's value, or OMIT where nothing is to stand there.

    member: of the objects at the top of it, be they a list's elements.
    """
    match node:
        case ScalarNode():
            return reader.leaf(node)
        case SequenceNode():
            return _list(node, reader, member)
        case MappingNode():
            return _mapping(node, reader, member)


def _mapping(node: MappingNode, reader: Reader, member: CompileMember) -> Evaluator:
    keys = _taken_apart(node, member)
    _check(keys, reader)
    if "$for" in keys.reserved:
        return _loop(keys, reader)
    return _once(keys, reader)


def _taken_apart(node: MappingNode, member: CompileMember) -> _Keys:
    keys = _Keys(member)
    for entry in node:
        if entry.key in RESERVED:
            keys.reserved[entry.key] = entry
        else:
            name = entry.key[1:] if entry.key[:1] == "$" and entry.key[1:] in RESERVED else entry.key
            keys.members.append((name, entry))
    return keys


def _check(keys: _Keys, reader: Reader) -> None:
    reserved = keys.reserved
    value = reserved.get("$value")
    if value and (keys.members or "$merge" in reserved):
        reader.refuse(value.mark, "$value is the whole value; it stands beside no other key")
    if value and not ("$for" in reserved or "$if" in reserved):
        reader.refuse(value.mark, "$value belongs to $for or $if; without them write the value itself")
    if "$else" in reserved and "$if" not in reserved:
        reader.refuse(reserved["$else"].mark, "$else needs an $if beside it")
    if "$key" in reserved and "$for" not in reserved:
        reader.refuse(reserved["$key"].mark, "$key needs a $for beside it")


def _once(keys: _Keys, reader: Reader) -> Evaluator:
    """An element, or an object outside loops: `$if`, then what it holds."""
    content = _content(keys, reader)
    if "$if" not in keys.reserved:
        return content
    condition = _condition(keys.reserved["$if"], reader)
    otherwise = _else(keys, reader)
    return lambda frame: content(frame) if condition(frame) else otherwise(frame)


def _condition(entry: Entry, reader: Reader) -> Evaluator:
    return reader.condition_of(entry, entry.key)


def _else(keys: _Keys, reader: Reader) -> Evaluator:
    if "$else" in keys.reserved:
        return compile_tree(keys.reserved["$else"].value, reader, keys.member)
    return lambda _frame: OMIT


def _content(keys: _Keys, reader: Reader) -> Evaluator:
    if "$value" in keys.reserved:
        return compile_tree(keys.reserved["$value"].value, reader, keys.member)
    members = [(name, keys.member(entry, reader)) for name, entry in keys.members]
    if "$merge" not in keys.reserved:
        return lambda frame: {
            name: value for name, evaluate in members if (value := evaluate(frame)) is not OMIT
        }
    return _merged(members, keys.reserved["$merge"], reader)


def _merged(members: list[tuple[str, Evaluator]], entry: Entry, reader: Reader) -> Evaluator:
    sources = entry.value.items if isinstance(entry.value, SequenceNode) else (entry.value,)
    merges = [(_expression(source, reader), source.mark, getattr(source, "text", "")) for source in sources]

    def evaluate(frame: Frame) -> dict[str, Value]:
        result = {name: value for name, inner in members if (value := inner(frame)) is not OMIT}
        for inner, where, written in merges:
            added = inner(frame)
            if added is OMIT or added is None:
                continue
            if not isinstance(added, dict):
                raise RenderError("value", f"$merge takes an object, not {kind_of(added)}", where, written)
            if double := result.keys() & added.keys():
                names = ", ".join(sorted(double))
                raise RenderError(
                    "duplicate_key",
                    f"$merge brings keys that are already there: {names}; take them out of one",
                    where,
                    written,
                )
            result.update(added)
        return result

    return evaluate


def _expression(node: Node, reader: Reader) -> Evaluator:
    """`$merge` and `$key` hold a value; written without braces it can only be meant as an expression."""
    if isinstance(node, ScalarNode) and isinstance(node.value, str) and not is_template(node.text):
        return reader.expression(node, node.text.strip())
    return compile_tree(node, reader)


@dataclass(frozen=True, slots=True)
class _Loop:
    """`$for: name in values`, and what one turn gives."""

    name: str
    values: Evaluator
    element: Evaluator
    key: Evaluator | None
    mark: Mark
    written: str
    numbered: bool

    def elements(self, frame: Frame) -> list[Value]:
        return [value for value, _turn in self._turns(frame)]

    def members(self, frame: Frame) -> dict[str, Value]:
        assert self.key is not None
        result: dict[str, Value] = {}
        for value, turn in self._turns(frame):
            key = self._key(turn)
            if key in result:
                raise RenderError("duplicate_key", f"$key gives {key[:60]!r} twice", self.mark, self.written)
            result[key] = value
        return result

    def _key(self, turn: Frame) -> str:
        assert self.key is not None
        try:
            return text_of(self.key(turn))
        except EvaluationError as error:
            raise RenderError(error.class_, f"$key: {error.message}", self.mark, self.written) from None

    def _take(self, frame: Frame, result: Value) -> None:
        try:
            frame[MEASURE].take(result)
        except EvaluationError as error:
            raise RenderError(error.class_, error.message, self.mark, self.written) from None

    def _turns(self, frame: Frame) -> list[tuple[Value, Frame]]:
        try:
            values = elements_of(self.values(frame), frame)
        except EvaluationError as error:
            raise RenderError(error.class_, error.message, self.mark, self.written) from None
        turns = []
        for index, value in enumerate(values):
            turn = {**frame, self.name: value}
            if self.numbered:
                turn["loop"] = loop(index, len(values))
            if (result := self.element(turn)) is not OMIT:
                self._take(frame, result)
                turns.append((result, turn))
        return turns


def _loop(keys: _Keys, reader: Reader) -> Evaluator:
    loop_ = _compiled_loop(keys, reader)
    if loop_ is None:
        return lambda _frame: None
    return loop_.members if loop_.key else loop_.elements


def _compiled_loop(keys: _Keys, reader: Reader) -> _Loop | None:
    entry = keys.reserved["$for"]
    node = entry.value
    match = _FOR.fullmatch(node.text) if isinstance(node, ScalarNode) else None
    if match is None or not isinstance(node, ScalarNode):
        reader.refuse(
            node.mark, "$for is written `name in list`, as in `part in vars.items`", getattr(node, "text", "")
        )
        return None
    values = reader.expression(node, match["list"].strip())
    used = set(reader.scope.used)
    try:
        with reader.scope.inside(match["name"], "loop"):
            reader.scope.used.discard("loop")
            key = keys.reserved.get("$key")
            return _Loop(
                name=match["name"],
                values=values,
                element=_once(keys, reader),
                key=_expression(key.value, reader) if key else None,
                mark=node.mark,
                written=node.text,
                numbered="loop" in reader.scope.used,
            )
    except SyntaxInvalid as error:
        reader.refuse(node.mark, str(error), node.text)
        return None
    finally:
        reader.scope.used |= used


def _list(node: SequenceNode, reader: Reader, member: CompileMember) -> Evaluator:
    parts = [_element(item, reader, member) for item in node]

    def evaluate(frame: Frame) -> list[Value]:
        result: list[Value] = []
        for splices, inner in parts:
            value = inner(frame)
            if splices:
                result.extend(value)
            elif value is not OMIT:
                result.append(value)
        return result

    return evaluate


def _element(node: Node, reader: Reader, member: CompileMember) -> tuple[bool, Evaluator]:
    splices = isinstance(node, MappingNode) and "$for" in node and "$key" not in node
    return splices, compile_tree(node, reader, member)
