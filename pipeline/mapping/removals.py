"""A mapping without one of its parts: each key, list element, filter and rule, one after the other. Pure.

What a mapping makes of events, and of answers, is looked at. What only describes it (`description`, `source.table`), says
what cannot be seen in a request (`order_by`, `limit`, `ordering`), or could not be left out at all, stays.
"""

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Members
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.mapping.declarations import OPERATIONS
from pipeline.mapping.expression_cuts import cuts
from pipeline.mapping.response import RULES
from pipeline.mapping.syntax import is_template
from pipeline.yaml_tree import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode

_BARE = ("$for", "$key", "$merge")
"""Keys of a tree that hold an expression, with or without braces."""


@dataclass(frozen=True, slots=True)
class Removal:
    """what: in words, as in "`| trim` is left out"; mark: where it stands; node: what stands there without it.

    node: None: nothing.
    """

    what: str
    mark: Mark
    node: Node | None


Part: TypeAlias = Callable[[Entry], Iterator[Removal]]
"""The removals of an entry, of its value as a whole."""


def removals(root: MappingNode) -> Iterator[tuple[Removal, MappingNode]]:
    """Each with the whole mapping without it. root: with what it extends."""
    for removal in _within(root, _ROOT):
        assert isinstance(removal.node, MappingNode)
        yield removal, removal.node


def _within(node: Node | None, parts: Members[str, Part]) -> Iterator[Removal]:
    """Of the entries that have a part; each removal's node is the whole object."""
    if not isinstance(node, MappingNode):
        return
    for entry in node:
        if entry.key in parts:
            for removal in parts[entry.key](entry):
                yield replace(removal, node=_with(node, entry, removal.node))


def _each(entry: Entry, part: Part) -> Iterator[Removal]:
    """The same part for every entry of a section, whatever it is called."""
    if isinstance(entry.value, MappingNode):
        yield from _within(entry.value, dict.fromkeys(entry.value.keys(), part))


def _with(node: MappingNode, changed: Entry, value: Node | None) -> MappingNode:
    instead = () if value is None else (Entry(changed.key, changed.mark, value),)
    entries = (part for entry in node for part in (instead if entry is changed else (entry,)))
    return replace(node, entries=tuple(entries))


def _gone(entry: Entry) -> Iterator[Removal]:
    yield Removal(f"`{entry.key}` is left out", entry.mark, None)


def _member(entry: Entry) -> Iterator[Removal]:
    """A key of a tree: gone, or there with less in it."""
    yield from _gone(entry)
    yield from _tree(entry)


def _tree(entry: Entry) -> Iterator[Removal]:
    """What is in a key of a tree."""
    if entry.key == "$if":
        yield from _condition(entry)
    elif entry.key in _BARE and isinstance(entry.value, ScalarNode):
        yield from _leaf(entry.value, bare=not is_template(entry.value.text))
    else:
        yield from _value(entry.value)


def _value(node: Node) -> Iterator[Removal]:
    match node:
        case ScalarNode():
            yield from _leaf(node, bare=False)
        case SequenceNode():
            yield from _items(node)
        case MappingNode():
            kept = ("$for", "$if", "$value")  # without one of them it is another tree, or none
            parts = {key: _tree if key in kept else _member for key in node.keys()}  # noqa: SIM118 - it iterates over entries
            yield from _within(node, parts)


def _items(node: SequenceNode) -> Iterator[Removal]:
    for index, item in enumerate(node.items):
        before, behind = node.items[:index], node.items[index + 1 :]
        yield Removal(f"element {index + 1} is left out", item.mark, replace(node, items=(*before, *behind)))
        for removal in _value(item):
            assert removal.node is not None
            yield replace(removal, node=replace(node, items=(*before, removal.node, *behind)))


def _leaf(node: ScalarNode, *, bare: bool) -> Iterator[Removal]:
    if isinstance(node.value, str) and (bare or is_template(node.text)):
        for what, text in cuts(node.text, bare=bare):
            yield Removal(what, node.mark, replace(node, value=text, text=text))


def _condition(entry: Entry) -> Iterator[Removal]:
    """As if it were always true, or always false; and less in it."""
    for word, always in (("true", True), ("false", False)):
        node = ScalarNode(entry.value.mark, always, word, quoted=False)
        yield Removal(f"`{entry.key}` is always {word}", entry.mark, node)
    if isinstance(entry.value, ScalarNode):
        yield from _leaf(entry.value, bare=True)


def _rule(entry: Entry) -> Iterator[Removal]:
    """One of `response`: it says nothing, or holds for every answer; but for `ok`, for every one that is no success."""
    yield from _gone(entry)
    all_of_them = "true" if entry.key == "ok" else "status >= 300"
    node = ScalarNode(entry.value.mark, all_of_them, all_of_them, quoted=True)
    yield Removal(f"`{entry.key}` holds for every answer", entry.mark, node)
    if isinstance(entry.value, ScalarNode):
        yield from _leaf(entry.value, bare=True)


def _source(entry: Entry) -> Iterator[Removal]:
    """Its `operations` less one, and all that there are."""
    yield from _within(entry.value, {"operations": _tree})
    if isinstance(entry.value, MappingNode):
        kept = tuple(each for each in entry.value if each.key != "operations")
        every = tuple(ScalarNode(entry.mark, name, name, quoted=False) for name in OPERATIONS)
        added = Entry("operations", entry.mark, SequenceNode(entry.mark, every))
        node = replace(entry.value, entries=(*kept, added))
        yield Removal("`operations` leaves none out", entry.mark, node)


def _params(entry: Entry) -> Iterator[Removal]:
    yield from _each(entry, lambda param: _within(param.value, {"default": _gone}))


def _enrichment(entry: Entry) -> Iterator[Removal]:
    yield from _gone(entry)
    yield from _within(entry.value, {"where": _tree, "many": _gone})


def _repeat(entry: Entry) -> Iterator[Removal]:
    yield from _within(entry.value, {"find": lambda find: _within(find.value, _FIND)})


def _step(entry: Entry) -> Iterator[Removal]:
    yield from _gone(entry)
    yield from _within(entry.value, _STEP)


def _response(entry: Entry) -> Iterator[Removal]:
    yield from _within(entry.value, {**dict.fromkeys(RULES, _rule), "save": _tree})


_FIND: dict[str, Part] = {"request": _tree, "found": _condition, "save": _member}
_STEP: dict[str, Part] = {
    "when": _condition,
    "reads": _gone,
    "request": _tree,
    "require": _condition,
    "repeat": _repeat,
    "schema": _gone,
}
_ROOT: dict[str, Part] = {
    "source": _source,
    "params": _params,
    "when": _condition,
    "enrich": lambda entry: _each(entry, _enrichment),
    "vars": _tree,
    "skip_if": _condition,
    "require": _condition,
    "request": _tree,
    "steps": lambda entry: _each(entry, _step),
    "schema": _gone,
    "repeat": _repeat,
    "response": _response,
}
