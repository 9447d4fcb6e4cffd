"""What a case, or a preview, tells a mapping instead of databases and ERPs, as people write it:

enrich: {parts: [{id: 1, qty: 2}], asset: {id: 7}}        # rows of the many, one row or null of the others
saved: [{route: vendors, key: 5, values: {id: V-1}}]      # what is not here was not saved
columns: {photo: "…"}                                     # of those that came unchanged
answers: {find: {status: 200, body: {value: []}}}         # by step; a lookup's is `find`, or `<step>.find`
unsure: true                                              # the request may have arrived; of steps: [their names]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from connectors.protocol import Answer
from pipeline.mapping.known import ColumnsRead, Known, Read, RowsRead, SavedRead, saved_id, saved_key
from pipeline.mapping.results import Rendered
from pipeline.mapping.values import Value
from pipeline.yaml_tree import MappingNode, Node, YamlError

KEYS = ("enrich", "saved", "columns", "answers", "unsure")


class NotGiven(Exception):
    """The mapping reads something that the facts do not tell: says what, and what to write."""


@dataclass(frozen=True, slots=True)
class Facts:
    """enrich: by name. saved: by `SavedRead.id`. answers: by label, see `label_of`. unsure: steps' names."""

    enrich: dict[str, Value] = field(default_factory=dict)
    saved: dict[str, Value] = field(default_factory=dict)
    columns: dict[str, Value] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    unsure: frozenset[str] = frozenset()

    def learn(self, known: Known, reads: tuple[Read, ...]) -> Known:
        """What is known with the reads' answers. Raises NotGiven."""
        for read in reads:
            match read:
                case RowsRead():
                    known = replace(known, rows={**known.rows, read.name: self.rows(read)})
                case SavedRead():
                    known = replace(known, saved={**known.saved, read.id: self.saved.get(read.id)})
                case ColumnsRead():
                    known = self._with_columns(known, read)
        return known

    def rows(self, read: RowsRead) -> list[dict[str, Value]]:
        """Raises NotGiven."""
        if read.name not in self.enrich:
            where = ", ".join(f"{column} = {value!r}" for column, value in read.where)
            written = f"{read.name}: {'[…]' if read.many else '{…}'}"
            raise NotGiven(f"the mapping reads {read.table} where {where}; write enrich: {{{written}}}")
        return rows_of(self.enrich[read.name])

    def _with_columns(self, known: Known, read: ColumnsRead) -> Known:
        """As where the row is gone, if one of them is not told."""
        told = {column: self.columns[column] for column in read.columns if column in self.columns}
        missing = [column for column in read.columns if column not in told]
        unreadable = not_read(missing) if missing else ""
        return replace(known, columns={**known.columns, **told}, unreadable=unreadable)


def not_read(columns: Sequence[str]) -> str:
    """Why unchanged columns are not known, and what to write."""
    return f"nothing here reads the row; to go on as if it were read, write columns: {{{columns[0]}: …}}"


def rows_of(value: Value) -> list[dict[str, Value]]:
    """The rows that are written as a list, as one, or as null."""
    return value if isinstance(value, list) else [] if value is None else [value]


def label_of(rendered: Rendered) -> str:
    """How a request is called: its step's name, `request` where there are no steps, and `find` for a lookup."""
    if rendered.kind == "find":
        return f"{rendered.step}.find" if rendered.step else "find"
    return rendered.step or "request"


def read_facts(section: MappingNode) -> Facts:
    """The facts among a section's members. Raises YamlError."""
    answers = section.get("answers")
    return Facts(
        enrich=members(section.get("enrich")),
        saved=_saved(section.get("saved")),
        columns=members(section.get("columns")),
        answers={}
        if answers is None
        else {each.key: read_answer(each.value) for each in answers.as_mapping()},
        unsure=_unsure(section.get("unsure")),
    )


def members(node: Node | None) -> dict[str, Value]:
    """A mapping's keys and values; empty where nothing is written."""
    return {} if node is None else {entry.key: entry.value.plain() for entry in node.as_mapping()}


def read_answer(node: Node) -> Answer:
    section = node.as_mapping()
    section.check_keys(("status", "headers", "body"))
    body = section.get("body")
    return Answer(
        section.require("status").as_int(100, 599),
        members(section.get("headers")),
        None if body is None else body.plain(),
    )


def _saved(node: Node | None) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for each in () if node is None else node.as_sequence():
        section = each.as_mapping()
        section.check_keys(("route", "key", "values"))
        key = saved_key(section.require("key").plain())
        for name, value in members(section.require("values")).items():
            found[saved_id(section.require("route").as_text(), key, name)] = value
    return found


def _unsure(node: Node | None) -> frozenset[str]:
    if node is None:
        return frozenset()
    try:
        return frozenset([""]) if node.as_bool() else frozenset()
    except YamlError:
        return frozenset(node.as_sequence().texts())
