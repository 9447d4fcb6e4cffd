"""Read a mapping's text into a Mapping, with everything that is wrong with it at once."""

import re
from collections.abc import Mapping as Members
from hashlib import sha256

from connectors.registry import PLANNED, kinds, shape
from pipeline.mapping.errors import Finding, MappingInvalid
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.filters import Toolbox
from pipeline.mapping.leaves import Reader
from pipeline.mapping.lint import warnings_of
from pipeline.mapping.lookups import Lookup
from pipeline.mapping.mapping_facts import ParamSpec, Source
from pipeline.mapping.render import Mapping, Program
from pipeline.mapping.request_leaves import compile_request
from pipeline.mapping.response import compile_rules
from pipeline.mapping.results import Repeat
from pipeline.mapping.scope import Scope
from pipeline.mapping.structure import compile_tree
from pipeline.yaml_tree import MappingNode, Mark, Node, ScalarNode, YamlError, load, nearest

KEYS = (
    "description",
    "source",
    "when",
    "params",
    "vars",
    "skip_if",
    "require",
    "connector",
    "request",
    "repeat",
    "response",
)
LATER = dict.fromkeys(("extends", "enrich", "steps", "ordering"), "not built yet")
OPERATIONS = ("insert", "update", "delete", "read", "truncate", "message")
_REPEATS: tuple[Repeat, ...] = ("upsert", "idempotency_key", "unsafe")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def compile_mapping(
    text: str, *, file: str, name: str, lookups: Members[str, Lookup] | None = None
) -> Mapping:
    """Compile once, render for each event.

    Args:
        text: YAML or JSON.
        file: how errors call it.
        name: the mapping's name, as routes write it.
        lookups: the tenant's crosswalk tables; None where they are not known, as in the shipped mappings' lint:
            then a lookup is an error only when it is used.

    Raises:
        MappingInvalid: with every finding.
    """
    try:
        root = load(text, file).as_mapping()
    except YamlError as error:
        raise MappingInvalid([Finding.of(error)]) from None
    compiler = _MappingCompiler(root, Reader(Scope(), Toolbox(lookups), []))
    mapping = compiler.mapping(text, file, name, lookups or {})
    if compiler.reader.findings:
        findings = sorted(
            compiler.reader.findings, key=lambda finding: (finding.mark.line, finding.mark.column)
        )
        raise MappingInvalid(findings)
    return mapping


class _MappingCompiler:
    def __init__(self, root: MappingNode, reader: Reader) -> None:
        self.root = root
        self.reader = reader
        self.scope = reader.scope

    def mapping(self, text: str, file: str, name: str, lookups: Members[str, Lookup]) -> Mapping:
        for error in self.root.unknown_keys(KEYS, LATER):
            self.reader.refuse(error.mark, error.message)
        source, params = self._source(), self._params()
        connector, repeat = self._connector(), self._repeat()
        program = self._program(connector)
        return Mapping(
            name=name,
            file=file,
            source=source,
            connector=connector,
            params_spec=params,
            repeat=repeat,
            version=_version(text, lookups, self.reader.toolbox.lookups_used),
            program=program,
            compared=frozenset(self.scope.compared),
            warnings=tuple(warnings_of(self.root, self.scope)),
            judges=program.response.any,
            lookups=frozenset(self.reader.toolbox.lookups_used),
        )

    def _program(self, connector: str) -> Program:
        when = self._condition("when")
        variables = self._vars()
        skip_if = self._condition("skip_if")
        require = self._condition("require")
        required = self.root.get("require")
        request = self._request(connector)
        return Program(
            when=when,
            vars=variables,
            skip_if=skip_if,
            require=(require, required.mark, required.text)
            if require and isinstance(required, ScalarNode)
            else None,
            request=request,
            response=compile_rules(self._section("response"), self.reader),
            needs_uuid=bool(self.scope.used & {"delivery.uuid", "delivery.*"}),
        )

    def _section(self, key: str) -> MappingNode | None:
        node = self.root.get(key)
        if node is None or isinstance(node, MappingNode):
            return node
        self.reader.refuse(node.mark, f"{key} takes a mapping of keys to values, not {node.describe()}")
        return None

    def _read(self, node: Node | None, otherwise: str) -> str:
        """A text, or a finding and what to go on with."""
        if node is None:
            return otherwise
        try:
            return node.as_text()
        except YamlError as error:
            self.reader.refuse(error.mark, error.message)
            return otherwise

    def _required(self, key: str, example: str) -> Node | None:
        node = self.root.get(key)
        if node is None:
            self.reader.refuse(self.root.mark, f"key {key!r} is missing; write {example}")
        return node

    def _source(self) -> Source:
        self._required("source", "source: {table: public.work_orders}")
        section = self._section("source")
        if section is None:
            return Source("", frozenset())
        for error in section.unknown_keys(("table", "operations", "tenant")):
            self.reader.refuse(error.mark, error.message)
        table = self._read(section.get("table"), "")
        schema, _, name = table.partition(".")
        # a webhook's type and a message's topic may have points: intake.order.created
        if not schema or not name or ("." in name and schema not in {"intake", "outbox"}):
            self.reader.refuse(
                section.mark, f"source.table is written schema.table, as in public.work_orders, not {table!r}"
            )
        tenant = section.get("tenant")
        if tenant is not None and self._read(tenant, "any") != "any":
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

    def _params(self) -> dict[str, ParamSpec]:
        specs = {}
        for entry in self._section("params") or ():
            self._check_name(entry.key, entry.mark)
            specs[entry.key] = self._param(entry.key, entry.value)
        self.scope.members["params"] = set(specs)
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

    def _check_name(self, name: str, mark: Mark) -> None:
        if not _NAME.fullmatch(name):
            self.reader.refuse(
                mark, f"{name!r} is no name; names are letters, digits and _, as in cost_center"
            )

    def _vars(self) -> tuple[tuple[str, Evaluator], ...]:
        compiled = []
        for entry in self._section("vars") or ():
            self._check_name(entry.key, entry.mark)
            compiled.append((entry.key, compile_tree(entry.value, self.reader)))
            self.scope.members["vars"].add(entry.key)
        return tuple(compiled)

    def _condition(self, key: str) -> Evaluator | None:
        entry = self.root.entry(key)
        return None if entry is None else self.reader.condition_of(entry, key)

    def _connector(self) -> str:
        node = self._required("connector", "connector: rest")
        kind = self._read(node, "rest")
        if node is not None and kind in PLANNED:
            self.reader.refuse(node.mark, f"connector {kind!r} is not built yet; built: {', '.join(kinds())}")
        elif node is not None and kind not in kinds():
            self.reader.refuse(node.mark, f"unknown connector {kind!r}{nearest(kind, kinds())}")
        return kind

    def _repeat(self) -> Repeat:
        node = self.root.get("repeat")
        if node is None:
            return "unsafe"
        if isinstance(node, MappingNode) and "find" in node:
            self.reader.refuse(node.mark, "repeat: {find: …} is not built yet")
            return "unsafe"
        written = self._read(node, "unsafe")
        for known in _REPEATS:
            if written == known:
                return known
        self.reader.refuse(node.mark, f"unknown repeat {written!r}{nearest(written, _REPEATS)}")
        return "unsafe"

    def _request(self, connector: str) -> Evaluator:
        self._required("request", "request: {method: POST, path: /…, body: {…}}")
        section = self._section("request")
        if section is None or connector not in kinds():
            return lambda _frame: {}
        return compile_request(section, shape(connector), self.reader)


def _version(text: str, lookups: Members[str, Lookup], used: set[str]) -> str:
    """Short and stable: the text, and the lookups it uses."""
    digest = sha256(text.encode())
    for name in sorted(used & lookups.keys()):
        digest.update(f"\0{name}\0{lookups[name].digest}".encode())
    return digest.hexdigest()[:12]
