"""Whether the cases of a mapping would notice if something were taken out of it. Pure.

A cases file that says `complete: true` promises it: for each key, filter and rule there is a case that does not hold
without it. So the mapping cannot lose one, and the cases none that matters, without being told.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Members
from typing import Any, TypeAlias

from pipeline.mapping.cases import lookups_of, problem_of
from pipeline.mapping.compile import compile_tree_of
from pipeline.mapping.errors import Finding, MappingInvalid
from pipeline.mapping.extends import merged
from pipeline.mapping.lookups import Lookup
from pipeline.mapping.removals import removals
from pipeline.mapping.render import Mapping
from pipeline.mapping.syntax import remembering
from pipeline.mapping.written_cases import Case
from pipeline.mapping_text import MappingText
from pipeline.yaml_tree import MappingNode

_Tables: TypeAlias = tuple[tuple[str, str], ...]
"""A case's own crosswalks, by name: most cases have the same."""
MOST_PARTS = 500
"""Each takes a few milliseconds: the mapping is compiled anew."""


def unnoticed(
    text: MappingText, cases: Sequence[Case], lookups: Members[str, Lookup]
) -> Iterator[Finding | None]:
    """A finding for each removal that no case notices, None for each that one does; each is one step of computing.

    The mapping is one that compiles, and its cases hold. Raises YamlError: a case's lookup is no CSV.
    """
    root = merged(text)
    if silent := list(_silent_about_repeats(root)):
        yield from silent
        return
    if sum(1 for _ in removals(root)) > MOST_PARTS:
        message = (
            f"has more than {MOST_PARTS} parts, too many to leave each of them out; take `complete` away"
        )
        yield Finding(root.mark, message)
        return
    trial = _Trial(text, cases, lookups)
    for removal, without in removals(root):
        if trial.notices(without):
            yield None
        else:
            where = f"{removal.mark.path}: " if removal.mark.path else ""
            yield Finding(removal.mark, f"{where}no case notices when {removal.what}")


def _silent_about_repeats(root: MappingNode) -> Iterator[Finding]:
    """No case can tell whether a request may be sent again: so it is written, `unsafe` or not."""
    if "repeat" in root:
        return
    steps = root.get("steps")
    if not isinstance(steps, MappingNode):
        yield Finding(root.mark, "nothing is said of `repeat`; write it, `unsafe` too")
        return
    for step in steps:
        if isinstance(step.value, MappingNode) and not {"repeat", "reads"} & {*step.value.keys()}:
            yield Finding(
                step.mark, f"nothing is said of `repeat` for the step {step.key!r}; write it, `unsafe` too"
            )


class _Trial:
    """Cases against mappings that lack something; what noticed the last one is asked first."""

    def __init__(self, text: MappingText, cases: Sequence[Case], lookups: Members[str, Lookup]) -> None:
        self._text = text
        self._cases = list(cases)
        self._parsed: dict[tuple[str, Any], Any] = {}
        self._lookups = {_tables(case): {**lookups, **lookups_of(case)} for case in cases}

    def notices(self, root: MappingNode) -> bool:
        if any(_silent_about_repeats(root)):
            return True
        compiled: dict[_Tables, Mapping] = {}
        for index, case in enumerate(self._cases):
            tables = _tables(case)
            try:
                if tables not in compiled:
                    with remembering(self._parsed):
                        compiled[tables] = compile_tree_of(root, self._text, "", self._lookups[tables])
            except MappingInvalid:
                return True
            if problem_of(compiled[tables], case):
                self._cases.insert(0, self._cases.pop(index))
                return True
        return False


def _tables(case: Case) -> _Tables:
    return tuple(sorted(case.lookups.items()))
