"""What a mapping declares about itself: its source, params, connector and how it may be repeated."""

import re

from connectors.protocol import KindBroken
from connectors.registry import kinds, shape
from pipeline.mapping.leaves import Reader
from pipeline.mapping.mapping_facts import ParamSpec, Source
from pipeline.mapping.results import Repeat
from pipeline.yaml_tree import MappingNode, Mark, Node, ScalarNode, YamlError, nearest

OPERATIONS = ("insert", "update", "delete", "read", "truncate", "message")
REPEATS: tuple[Repeat, ...] = ("upsert", "idempotency_key", "unsafe")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Declarations:
    """Reads sections; what is wrong with them goes to the reader's findings."""

    def __init__(self, root: MappingNode, reader: Reader) -> None:
        self.root = root
        self.reader = reader

    def section(self, key: str, of: MappingNode | None = None) -> MappingNode | None:
        node = (self.root if of is None else of).get(key)
        if node is None or isinstance(node, MappingNode):
            return node
        self.reader.refuse(node.mark, f"{key} takes a mapping of keys to values, not {node.describe()}")
        return None

    def read(self, node: Node | None, otherwise: str) -> str:
        """A text, or a finding and what to go on with."""
        if node is None:
            return otherwise
        try:
            return node.as_text()
        except YamlError as error:
            self.reader.refuse(error.mark, error.message)
            return otherwise

    def flag(self, node: Node | None) -> bool:
        """true or false; false where nothing is written."""
        if node is None:
            return False
        try:
            return node.as_bool()
        except YamlError as error:
            self.reader.refuse(error.mark, error.message)
            return False

    def required(self, key: str, example: str) -> Node | None:
        node = self.root.get(key)
        if node is None:
            self.reader.refuse(self.root.mark, f"key {key!r} is missing; write {example}")
        return node

    def check_name(self, name: str, mark: Mark) -> None:
        if not _NAME.fullmatch(name):
            self.reader.refuse(
                mark, f"{name!r} is no name; names are letters, digits and _, as in cost_center"
            )

    def source(self) -> Source:
        self.required("source", "source: {table: public.work_orders}")
        section = self.section("source")
        if section is None:
            return Source("", frozenset())
        for error in section.unknown_keys(("table", "operations", "tenant")):
            self.reader.refuse(error.mark, error.message)
        table = self.read(section.get("table"), "")
        schema, _, name = table.partition(".")
        # a webhook's type and a message's topic may have points: intake.order.created
        if not schema or not name or ("." in name and schema not in {"intake", "outbox"}):
            self.reader.refuse(
                section.mark, f"source.table is written schema.table, as in public.work_orders, not {table!r}"
            )
        tenant = section.get("tenant")
        if tenant is not None and self.read(tenant, "any") != "any":
            self.reader.refuse(tenant.mark, "source.tenant is `any` or left out")
        return Source(table, self._operations(section), tenant is not None)

    def _operations(self, section: MappingNode) -> frozenset[str]:
        node = section.get("operations")
        if node is None:
            return frozenset(("insert", "update"))
        try:
            operations = node.as_sequence().texts()
        except YamlError as error:
            self.reader.refuse(error.mark, error.message)
            return frozenset()
        for operation in operations:
            if operation not in OPERATIONS:
                self.reader.refuse(
                    node.mark, f"unknown operation {operation!r}{nearest(operation, OPERATIONS)}"
                )
        return frozenset(operations)

    def params(self) -> dict[str, ParamSpec]:
        specs = {}
        for entry in self.section("params") or ():
            self.check_name(entry.key, entry.mark)
            specs[entry.key] = self._param(entry.key, entry.value)
        self.reader.scope.members["params"] = set(specs)
        return specs

    def _param(self, name: str, node: Node) -> ParamSpec:
        if node.is_null:
            return ParamSpec()
        try:
            section = node.as_mapping()
            section.check_keys(("required", "default", "description"))
            required = section.get("required")
            default = section.get("default")
            if required is not None and required.as_bool() and default is not None:
                raise default.error(f"param {name!r} is required, so its default is never used; remove one")
            return ParamSpec(
                required is not None and required.as_bool(), None if default is None else default.plain()
            )
        except YamlError as error:
            self.reader.refuse(error.mark, error.message)
            return ParamSpec()

    def connector(self) -> str:
        node = self.required("connector", "connector: rest")
        kind = self.read(node, "rest")
        if node is not None:
            self._check_kind(node, kind)
        return kind

    def _check_kind(self, node: Node, kind: str) -> None:
        if kind not in kinds():
            self.reader.refuse(node.mark, f"unknown connector {kind!r}{nearest(kind, kinds())}")
        else:
            try:
                shape(kind)
            except KindBroken as error:
                self.reader.refuse(node.mark, str(error))

    def repeat(self, node: Node | None, otherwise: Repeat) -> Repeat:
        """`upsert`, `idempotency_key`, `unsafe`, or `find` where a lookup is written."""
        if node is None:
            return otherwise
        if isinstance(node, MappingNode):
            return "find"
        written = node.text if isinstance(node, ScalarNode) else ""
        for known in REPEATS:
            if written == known:
                return known
        self.reader.refuse(
            node.mark,
            f"unknown repeat {written!r}{nearest(written, REPEATS)}; or find: {{request, found, save}}",
        )
        return otherwise
