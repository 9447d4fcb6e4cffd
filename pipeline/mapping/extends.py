"""`extends`: a mapping that changes another one. Objects merge, lists and values replace, `{$remove: true}` deletes.

The trees are merged before anything is compiled, and each node still knows the file and line that wrote it.
"""

from collections.abc import Iterator, Sequence

from pipeline.mapping_text import MappingText
from pipeline.yaml_tree import Entry, MappingNode, Node, ScalarNode, SequenceNode, YamlError, load

EXTENDS = "extends"
REMOVE = "$remove"


def named_base(root: Node) -> ScalarNode | None:
    """Where a mapping says what it extends; None where it stands alone. Raises YamlError where that is no text."""
    node = root.get(EXTENDS) if isinstance(root, MappingNode) else None
    if node is None:
        return None
    if not isinstance(node, ScalarNode) or not node.as_text().strip():
        raise node.error("extends takes a mapping's name, as in sap_s4hana/purchase_requisition")
    return node


def merged(text: MappingText) -> MappingNode:
    """The mapping with all that it extends, as one tree without `extends`.

    Raises:
        YamlError: a text is no YAML, a base is not given, or something is removed that is not there.
    """
    root = load(text.text, text.file).as_mapping()
    if named_base(root) is None:
        refuse_remove(root)
        return root
    roots = [root, *_bases(root, text.bases)]
    tree = roots.pop()
    refuse_remove(tree)
    while roots:
        tree = _merge(tree, roots.pop(), top=True)
    return tree


def _bases(root: MappingNode, texts: Sequence[MappingText]) -> Iterator[MappingNode]:
    left = list(texts)
    while (named := named_base(root)) is not None:
        if not left:
            raise named.error(f"extends: the mapping {named.text.strip()!r} is not at hand here")
        base = left.pop(0)
        root = load(base.text, base.file).as_mapping()
        yield root


def _merge(base: MappingNode, over: MappingNode, *, top: bool = False) -> MappingNode:
    entries = {entry.key: entry for entry in base}
    for entry in over:
        if top and entry.key == EXTENDS:
            continue
        below = entries.get(entry.key)
        if _removes(entry.value):
            if below is None:
                raise entry.value.error(
                    f"{entry.mark.path}: there is nothing to remove; the mapping that is extended has no such key"
                )
            del entries[entry.key]
        elif (
            below is not None
            and isinstance(below.value, MappingNode)
            and isinstance(entry.value, MappingNode)
        ):
            entries[entry.key] = Entry(entry.key, entry.mark, _merge(below.value, entry.value))
        else:
            refuse_remove(entry.value)
            entries[entry.key] = entry
    return MappingNode(over.mark, tuple(entries.values()))


def _removes(node: Node) -> bool:
    """Whether this is `{$remove: true}`. Raises YamlError for what only looks like it."""
    if not isinstance(node, MappingNode) or REMOVE not in node:
        return False
    if len(node) > 1:
        raise node.error("$remove stands alone: write {$remove: true} in the place of what is to go")
    if node.require(REMOVE).as_bool() is not True:
        raise node.error("$remove is true, or left out")
    return True


def refuse_remove(node: Node) -> None:
    """Raises YamlError for a `$remove` where there is nothing that it could remove."""
    if isinstance(node, MappingNode):
        if (entry := node.entry(REMOVE)) is not None:
            raise YamlError(
                entry.mark,
                "$remove takes a key of the mapping that is extended away; there is none here. In lists, which replace,"
                " leave the element out",
            )
        for each in node:
            refuse_remove(each.value)
    elif isinstance(node, SequenceNode):
        for item in node:
            refuse_remove(item)
