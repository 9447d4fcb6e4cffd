"""`enrich`: rows of the source's other tables, each read by values of the event and of the rows before it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.mapping.errors import RenderError, Wanted
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.known import Known, RowsRead
from pipeline.mapping.leaves import Reader
from pipeline.mapping.mapping_facts import TableRead
from pipeline.mapping.structure import compile_tree
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.values import OMIT, Frame, Value, kind_of
from pipeline.yaml_tree import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode, YamlError

KEYS = ("table", "where", "many", "columns", "order_by", "limit")
LIMIT = 1_000
MOST = 10_000
_ORDER = re.compile(r"\s*(?P<column>\S+)(\s+(?P<direction>asc|desc))?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Enrichment:
    """One name under `enrich`. uses: the names before it that its `where` speaks of."""

    name: str
    table: str
    where: tuple[tuple[str, Evaluator, Mark], ...]
    many: bool
    columns: tuple[str, ...] | None
    order_by: tuple[tuple[str, bool], ...]
    limit: int
    uses: frozenset[str]
    mark: Mark

    @property
    def told(self) -> TableRead:
        """What can be known of it without an event."""
        columns = tuple(column for column, _, _ in self.where)
        line = self.mark.line
        return TableRead(self.name, self.table, columns, self.order_by, self.columns, self.many, line)

    def read(self, frame: Frame) -> RowsRead | None:
        """What to read; None where no row can match, since a value is null."""
        values = []
        for column, evaluate, mark in self.where:
            value = _comparable(evaluate(frame), column, mark)
            if value is None or value == []:
                return None
            values.append((column, value))
        return RowsRead(
            self.name, self.table, tuple(values), self.many, self.columns, self.order_by, self.limit
        )

    def taken(self, rows: Sequence[Value]) -> Value:
        """What the name stands for."""
        if not self.many:
            return rows[0] if rows else None
        if len(rows) > self.limit:
            raise RenderError(
                "limit",
                f"enrich.{self.name} finds more than {self.limit} rows of {self.table}; say more in `where`, or raise"
                f" its `limit` (at most {MOST})",
                self.mark,
            )
        return list(rows)


def fill(enrichments: Sequence[Enrichment], frame: Frame, known: Known) -> None:
    """Puts the rows into the frame.

    Raises:
        Wanted: those that are not known yet and do not wait for others.
    """
    reads: list[RowsRead] = []
    pending: set[str] = set()
    for one in enrichments:
        rows = known.rows.get(one.name)
        if rows is None and not one.uses.isdisjoint(pending):
            pending.add(one.name)
            continue
        if rows is None and (read := one.read(frame)) is not None:
            reads.append(read)
            pending.add(one.name)
            continue
        frame[one.name] = one.taken(rows or ())
    if reads:
        raise Wanted(*reads)


def _comparable(value: Value, column: str, mark: Mark) -> Value:
    if isinstance(value, dict) or value is OMIT:
        raise RenderError(
            "value", f"where.{column} takes a value or a list of values, not {kind_of(value)}", mark
        )
    if isinstance(value, list):
        if any(isinstance(element, dict | list) for element in value):
            raise RenderError("value", f"where.{column}: a list of values, not of lists or objects", mark)
        return [element for element in value if element is not None]
    return value


def compile_enrichments(section: MappingNode | None, reader: Reader) -> tuple[Enrichment, ...]:
    """The mapping's `enrich`; each name is known to what is compiled after it."""
    compiled = []
    for entry in section or ():
        if (one := _enrichment(entry, reader)) is not None:
            compiled.append(one)
        try:
            reader.scope.declare(entry.key)
        except SyntaxInvalid as error:
            reader.refuse(entry.mark, str(error))
    return tuple(compiled)


def _enrichment(entry: Entry, reader: Reader) -> Enrichment | None:
    try:
        section = entry.value.as_mapping()
        section.check_keys(KEYS)
        table = section.require("table").as_text()
        schema, _, name = table.partition(".")
        if not schema or not name or "." in name:
            raise section.require("table").error(f"write schema.table, as in public.assets, not {table!r}")
        many = (node := section.get("many")) is not None and node.as_bool()
        where, uses = _where(section.require("where").as_mapping(), reader)
        return Enrichment(
            name=entry.key,
            table=table,
            where=where,
            many=many,
            columns=_columns(section.get("columns")),
            order_by=_order(section.get("order_by")),
            limit=_limit(section.get("limit"), many=many),
            uses=uses,
            mark=entry.mark,
        )
    except YamlError as error:
        reader.refuse(error.mark, error.message)
        return None


def _where(
    section: MappingNode, reader: Reader
) -> tuple[tuple[tuple[str, Evaluator, Mark], ...], frozenset[str]]:
    if not len(section):
        raise section.error("where needs a column; without one it would read the whole table")
    with reader.scope.noting() as used:
        where = tuple((each.key, compile_tree(each.value, reader), each.mark) for each in section)
    return where, frozenset(name.removesuffix(".*") for name in used)


def _columns(node: Node | None) -> tuple[str, ...] | None:
    return None if node is None else node.as_sequence().texts()


def _order(node: Node | None) -> tuple[tuple[str, bool], ...]:
    """`created_at desc`, or a list of such."""
    if node is None:
        return ()
    written = node.items if isinstance(node, SequenceNode) else (node,)
    return tuple(_ordered(each) for each in written)


def _ordered(node: Node) -> tuple[str, bool]:
    match = _ORDER.fullmatch(node.as_text()) if isinstance(node, ScalarNode) else None
    if match is None:
        raise node.error("order_by is a column, or `column desc`, or a list of such")
    return match["column"], (match["direction"] or "").lower() == "desc"


def _limit(node: Node | None, *, many: bool) -> int:
    if node is None:
        return LIMIT if many else 1
    if not many:
        raise node.error("limit belongs to many: true; without it there is one row")
    return node.as_int(1, MOST)
