"""What is not wrong with a mapping, but probably not meant."""

import re
from collections.abc import Iterator

from pipeline.mapping.errors import Finding
from pipeline.mapping.scope import Scope
from pipeline.mapping.structure import RESERVED
from pipeline.mapping.syntax import is_template
from pipeline.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode, nearest

_ODATA = ("$format", "$filter", "$value", "$levels", "$ref", "$search", "$skip", "$select")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


def warnings_of(root: MappingNode, scope: Scope) -> Iterator[Finding]:
    """Params and vars that nothing uses; numbers written like codes."""
    for section in ("params", "vars"):
        node = root.get(section)
        if isinstance(node, MappingNode) and f"{section}.*" not in scope.used:
            for entry in node:
                if f"{section}.{entry.key}" not in scope.used:
                    yield Finding(entry.mark, f"nothing uses {section}.{entry.key}")
    yield from _numbers_like_codes(root)
    for section in ("vars", "request"):
        if (node := root.get(section)) is not None:
            yield from _literal_keys(node)


def _numbers_like_codes(node: Node) -> Iterator[Finding]:
    match node:
        case ScalarNode(quoted=False, text=text, value=int(value)) if _LEADING_ZERO.fullmatch(text):
            yield Finding(node.mark, f'{text} is the number {value}; a code is text: write "{text}"')
        case MappingNode():
            for entry in node:
                yield from _numbers_like_codes(entry.value)
        case SequenceNode():
            for item in node:
                yield from _numbers_like_codes(item)
        case _:
            pass


def _literal_keys(node: Node) -> Iterator[Finding]:
    """Keys that are sent as they stand, and look as if they were meant otherwise."""
    if isinstance(node, MappingNode):
        for entry in node:
            if is_template(entry.key):
                yield Finding(
                    entry.mark, "keys are sent as they stand; write $for with $key for a key that is computed"
                )
            elif near := _nearly_reserved(entry.key):
                yield Finding(entry.mark, f"{entry.key} is sent as it stands{near}")
            yield from _literal_keys(entry.value)
    elif isinstance(node, SequenceNode):
        for item in node:
            yield from _literal_keys(item)


def _nearly_reserved(key: str) -> str:
    if not key.startswith("$") or key in (*RESERVED, *_ODATA) or key.startswith("$$"):
        return ""
    hint = nearest(key, RESERVED)
    return hint if "did you mean" in hint else ""
