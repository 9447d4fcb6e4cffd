"""What a mapping is, apart from what it does: told by the process that compiled it to all that do not."""

from collections.abc import Mapping as Members
from dataclasses import dataclass

from connectors.classification import is_stale
from connectors.protocol import Outcome, Rejected
from pipeline.mapping.errors import Finding
from pipeline.mapping.known import saved_key
from pipeline.mapping.results import Rendered, Repeat
from pipeline.mapping.values import Value
from pipeline.yaml_tree import nearest


@dataclass(frozen=True, slots=True)
class Source:
    """Which events a mapping is for. `tenant_any`: also those of no tenant, or of none that can be told."""

    table: str
    operations: frozenset[str]
    tenant_any: bool = False

    def takes(self, event: Members[str, Value], *, any_operation: bool = False) -> bool:
        """Whether the event is of this table and one of these operations."""
        source = event.get("source") or {}
        if event.get("op") not in self.operations and not any_operation:
            return False
        if event.get("tenant", "") is None and not self.tenant_any:
            return False
        return f"{source.get('schema')}.{source.get('table')}" == self.table


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """What a route may set. A param that is not required and has no default is null."""

    required: bool = False
    default: Value = None


@dataclass(frozen=True, slots=True)
class TableRead:
    """What an enrichment reads, as far as the text tells.

    table: `schema.table`; where: columns; order_by: columns, and whether they descend; columns: None: all. line: of the
    mapping's text.
    """

    name: str
    table: str
    where: tuple[str, ...]
    order_by: tuple[tuple[str, bool], ...]
    columns: tuple[str, ...] | None
    many: bool
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingFacts:
    """`version` changes with the mapping's text and with the lookups it uses.

    compared: the columns that `changed` and `became` compare with the row before. judges: it has a word on what an
    answer means. lookups: the crosswalks that it uses. routes_read: the routes whose saved values it asks for. reads: what
    `enrich` reads. orders: it has an `ordering`. repeat: of a mapping with steps, what a step has that
    says nothing else.
    """

    name: str
    file: str
    source: Source
    connector: str
    params_spec: Members[str, ParamSpec]
    repeat: Repeat
    version: str
    compared: frozenset[str] = frozenset()
    warnings: tuple[Finding, ...] = ()
    judges: bool = False
    lookups: frozenset[str] = frozenset()
    routes_read: frozenset[str] = frozenset()
    reads: tuple[TableRead, ...] = ()
    orders: bool = False

    def leaves(self, outcome: Outcome, rendered: Rendered | None) -> bool:
        """Whether the connector's word on an answer stands, so that `Mapping.classify` need not be asked."""
        answer = outcome.answer
        if answer is None:
            return True
        lookup = rendered is not None and (rendered.reads or rendered.kind == "find")
        stale = rendered is not None and rendered.step and isinstance(outcome, Rejected) and is_stale(answer)
        return not (self.judges or lookup or stale)

    def saved_key(self, event: Members[str, Value]) -> str:
        """Under which key `saved` finds what a delivery of the event saves."""
        return saved_key(event.get("key"))

    def check_params(self, params: Members[str, Value]) -> list[str]:
        """What is wrong with a route's params, in words; empty when nothing is."""
        problems = [
            f"unknown param {name!r} of mapping {self.name}{nearest(name, self.params_spec)}"
            for name in params
            if name not in self.params_spec
        ]
        problems += [
            f"mapping {self.name} requires the param {name!r}"
            for name, spec in self.params_spec.items()
            if spec.required and params.get(name) is None
        ]
        return problems
