"""What is not wrong with a mapping, but probably not meant."""

import re
from collections.abc import Iterator

from pipeline.mapping.errors import Finding
from pipeline.mapping.scope import Scope
from pipeline.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode

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
