"""`schema`: the JSON Schema that a rendered payload must fulfil before it is sent."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import TypeAlias

from eventbus.event import encode_json
from pipeline.mapping.errors import RenderError
from pipeline.mapping.leaves import Reader
from pipeline.mapping.values import Value
from pipeline.mapping_text import MappingText
from pipeline.yaml_tree import MappingNode, Node, ScalarNode

CheckPayload: TypeAlias = Callable[[dict[str, Value]], None]
SCHEMA = "schema"


def named_files(root: Node) -> Iterator[ScalarNode]:
    """The files that a mapping names: the JSON Schemas of its payloads."""
    if not isinstance(root, MappingNode):
        return
    steps = root.get("steps")
    sections = [root, *(entry.value for entry in steps)] if isinstance(steps, MappingNode) else [root]
    for section in sections:
        node = section.get(SCHEMA) if isinstance(section, MappingNode) else None
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            yield node


class Schemas:
    """The schema files of a mapping and of what it extends."""

    def __init__(self, text: MappingText) -> None:
        self._files = {each.file: each.files for each in (text, *text.bases)}

    def check(self, node: Node | None, payloads: tuple[str, ...], reader: Reader) -> CheckPayload | None:
        """What checks a request; payloads: the keys of which one holds it."""
        if node is None:
            return None
        schema = self._text(node)
        if schema is None:
            reader.refuse(node.mark, f"schema: the file {node.describe()} is not at hand here")
            return None
        # a tenth of a second to import, and few mappings name one
        from pipeline.payload_schema import PayloadSchema, SchemaInvalid  # noqa: PLC0415

        try:
            checked = PayloadSchema(schema)
        except SchemaInvalid as error:
            reader.refuse(node.mark, f"schema: {error}")
            return None
        mark = node.mark

        def check(request: dict[str, Value]) -> None:
            for key in payloads:
                complaint = checked.complaint(request[key]) if key in request else None
                if complaint is not None:
                    where = f"{key}{complaint.path}"
                    message = (
                        f"{where} does not fulfil the schema ({complaint.keyword}): {complaint.message[:300]}"
                    )
                    raise RenderError("schema", message, mark)

        return check

    def _text(self, node: Node) -> bytes | None:
        if isinstance(node, MappingNode):
            return encode_json(node.plain())
        if not isinstance(node, ScalarNode):
            return None
        name = PurePosixPath(node.text).as_posix()
        files = self._files.get(node.mark.file, {})
        text = files.get(node.text, files.get(name))
        return None if text is None else text.encode()
