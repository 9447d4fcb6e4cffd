"""Which names an expression may use, and which it did use."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.yaml_tree import nearest

EVENT_MEMBERS = ("v", "id", "op", "tenant", "source", "key", "before", "after", "unchanged", "identity")
SOURCE_MEMBERS = ("name", "db", "schema", "table", "lsn", "commit_lsn", "ordinal", "xid", "commit_ts")
LOOP_MEMBERS = ("index", "index0", "first", "last", "length")
NAMES = (
    "event",
    "after",
    "before",
    "key",
    "op",
    "tenant",
    "route",
    "source",
    "params",
    "vars",
    "delivery",
    "omit",
)
ANSWER_NAMES = ("status", "headers", "body")
FUNCTIONS = ("changed", "became", "range", "saved", "wait_for")
ELSEWHERE = {
    "steps": "steps are there in a mapping with `steps`, in what stands below them",
    "step": "step is the name of the step that was answered, in `response` of a mapping with steps",
    "nil": "nil is for the trees of xml and SOAP; elsewhere write null",
    **dict.fromkeys(
        ANSWER_NAMES, "an answer is there in `response`, `found` and `save` alone; of a step: steps.NAME.body"
    ),
}
"""Names that only some places know."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class Scope:
    """The names known while a mapping compiles.

    members: of those whose members are known then too. assigned: by `{% set %}`. compared: the columns that
    `changed` and `became` ask about. routes_read: those that `saved` and `wait_for` name.
    """

    names: set[str] = field(default_factory=lambda: set(NAMES))
    members: dict[str, set[str]] = field(
        default_factory=lambda: {
            "event": set(EVENT_MEMBERS),
            "source": set(SOURCE_MEMBERS),
            "delivery": {"id", "uuid"},
            "loop": set(LOOP_MEMBERS),
            "params": set(),
            "vars": set(),
        }
    )
    used: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    compared: set[str] = field(default_factory=set)
    routes_read: set[str] = field(default_factory=set)

    def use(self, name: str) -> None:
        """Note that a name is used. Raises SyntaxInvalid where there is none such."""
        if name in FUNCTIONS:
            raise SyntaxInvalid(f"{name} is a function: write {name}(…)")
        if name not in self.names and name in ELSEWHERE:
            raise SyntaxInvalid(f"no {name!r} here: {ELSEWHERE[name]}")
        if name not in self.names:
            raise SyntaxInvalid(f"unknown name {name!r}{self._hint(name)}")
        self.used.add(name)

    def use_member(self, name: str, member: str) -> None:
        """Note that `name.member` is used. Raises SyntaxInvalid where it is known not to exist."""
        known = self.members.get(name)
        if known is not None and name in self.names and member not in known:
            where = {"params": "declared under params", "vars": "in the vars above"}.get(name, f"in {name}")
            hint = f"; add {member} to params" if name == "params" and not known else ""
            raise SyntaxInvalid(f"no {member!r} {where}{hint or nearest(member, known)}")
        self.used.add(f"{name}.{member}")

    def declare(self, name: str) -> None:
        """One more name, for all that is compiled from here on. Raises SyntaxInvalid for one that is taken."""
        if not _NAME.fullmatch(name):
            raise SyntaxInvalid(f"{name!r} is no name; names are letters, digits and _, as in cost_center")
        if name in self.names or name in ELSEWHERE or name == "loop":
            raise SyntaxInvalid(f"{name!r} already means something here; choose another name")
        self.names.add(name)

    @contextmanager
    def noting(self) -> Iterator[set[str]]:
        """What is used inside, by itself; afterwards it belongs to the rest as well."""
        before, self.used = self.used, set()
        inside = self.used
        try:
            yield inside
        finally:
            self.used = before | inside

    @contextmanager
    def inside(self, *names: str) -> Iterator[None]:
        """More names, while the body of a loop compiles. Raises SyntaxInvalid for a name that is taken."""
        for name in names:
            if name in self.names and name != "loop":
                raise SyntaxInvalid(f"{name!r} already means something here; choose another name")
        before = set(self.names)
        self.names.update(names)
        try:
            yield
        finally:
            self.names = before

    def _hint(self, name: str) -> str:
        return nearest(name, self.names) or "; a column is written after.column, a text 'in quotes'"
