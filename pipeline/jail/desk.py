"""What a rendering child does with a task: compile, render, say what an answer means. Pure.

Mappings stay compiled until others need the room; what is wrong with one is kept like it. How much a task may compute
is counted by the caller's `limit`.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from connectors.plug_ins import NotTold
from eventbus.event import decode_event
from pipeline.jail.frames import (
    Answer,
    Defect,
    Failed,
    Invalid,
    Lacking,
    Load,
    MappingSource,
    Result,
    Task,
    Zone,
    to_json,
)
from pipeline.jail.work import (
    outcome_of,
    read_cases_given,
    read_given,
    read_judgement,
    spoken,
    without_answer,
)
from pipeline.mapping import (
    Finding,
    Lookup,
    Mapping,
    MappingInvalid,
    MappingText,
    RenderError,
    compile_stored,
    parse_lookup,
)
from pipeline.mapping.cases import read_cases, run_cases
from pipeline.mapping.completeness import unnoticed
from pipeline.mapping.errors import EvaluationError
from pipeline.mapping.syntax import remembering
from pipeline.mapping.zones import give
from pipeline.yaml_tree import Mark, YamlError

ROOM = 192 * 2**20
"""Bytes that mappings may take, compiled, with their crosswalks, as `_weight` estimates."""
COMPILE_S = 0.5
"""Seconds of CPU for compiling one mapping, and again for reading its crosswalks."""

Limit: TypeAlias = Callable[[float], AbstractContextManager[None]]


class Desk:
    """limit: a context that raises EvaluationError when so many seconds of CPU are used up."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._sources: OrderedDict[bytes, MappingSource] = OrderedDict()
        self._compiled: dict[bytes, Mapping | MappingInvalid] = {}
        self._room = ROOM

    def keep(self, load: Load) -> None:
        """The text; it is compiled when it is first asked for. The least used make room."""
        if load.digest in self._sources:
            return
        self._sources[load.digest] = load.source
        self._room -= _weight(load.source)
        while self._room < 0 and len(self._sources) > 1:
            digest, source = self._sources.popitem(last=False)
            self._compiled.pop(digest, None)
            self._room += _weight(source)

    def zone(self, zone: Zone) -> None:
        give(zone.name, zone.content)

    def answer(self, task: Task) -> Answer:
        """Raises MemoryError, and EvaluationError where the limit passed outside of any expression."""
        source = self._sources.get(task.digest)
        if source is None:
            return Lacking(task.number)
        self._sources.move_to_end(task.digest)
        try:
            return Result(task.number, self._done(task, source))
        except NotTold as lacking:
            return Lacking(task.number, lacking.name)
        except RenderError as error:
            mark = (error.file, error.line, error.column)
            return Failed(task.number, error.class_, error.message, mark, error.expression)
        except MappingInvalid as invalid:
            return _invalid(task, invalid.findings)
        except YamlError as error:
            return _invalid(task, [Finding.of(error)])
        except (EvaluationError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 — ours to mend, and told by whoever asked
            return Defect(task.number, f"{type(error).__name__}: {error}")

    def _done(self, task: Task, source: MappingSource) -> bytes:
        match task.op:
            case "cases":
                return self._cases(task, source)
            case "unnoticed":
                return self._unnoticed(task, source)
            case "facts":
                return to_json(self._mapping(task.digest, source).facts)
            case "render":
                return self._render(task, source)
            case "classify":
                return self._classify(task, source)
            case "order":
                return self._order(task, source)

    def _render(self, task: Task, source: MappingSource) -> bytes:
        mapping = self._mapping(task.digest, source)
        with self._limit(task.cpu_s):
            given = replace(read_given(task.given), event=decode_event(task.event))
            return to_json(mapping.render(given))

    def _order(self, task: Task, source: MappingSource) -> bytes:
        mapping = self._mapping(task.digest, source)
        with self._limit(task.cpu_s):
            given = replace(read_given(task.given), event=decode_event(task.event))
            return to_json(mapping.ordering_keys(given))

    def _classify(self, task: Task, source: MappingSource) -> bytes:
        mapping = self._mapping(task.digest, source)
        with self._limit(task.cpu_s):
            asked = read_judgement(task.given)
            given = replace(asked.given, event=decode_event(task.event))
            outcome = mapping.classify(outcome_of(asked.spoken), given, asked.rendered)
            return to_json(spoken(without_answer(outcome)))

    def _cases(self, task: Task, source: MappingSource) -> bytes:
        asked = read_cases_given(task.given)
        with self._limit(COMPILE_S):
            lookups = {name: _lookup(name, text) for name, text in (source.lookups or {}).items()}
        with self._limit(COMPILE_S):
            cases = read_cases(asked.cases, asked.cases_file)
        text, problems = _text(source, asked.file), []
        with remembering({}):
            for case in cases:
                with self._limit(task.cpu_s):
                    problems += [result.problem for result in run_cases(text, [case], lookups)]
        return to_json(problems)

    def _unnoticed(self, task: Task, source: MappingSource) -> bytes:
        asked = read_cases_given(task.given)
        with self._limit(COMPILE_S):
            lookups = {name: _lookup(name, text) for name, text in (source.lookups or {}).items()}
            cases = read_cases(asked.cases, asked.cases_file)
        trials, found = unnoticed(_text(source, asked.file), cases, lookups), []
        while True:
            with self._limit(task.cpu_s):
                try:
                    found.append(next(trials))
                except StopIteration:
                    return to_json([finding for finding in found if finding is not None])

    def _mapping(self, digest: bytes, source: MappingSource) -> Mapping:
        compiled = self._compiled.get(digest)
        if compiled is None:
            compiled = self._compiled[digest] = self._compile(source)
        if isinstance(compiled, MappingInvalid):
            raise MappingInvalid(compiled.findings)
        return compiled

    def _compile(self, source: MappingSource) -> Mapping | MappingInvalid:
        known = source.lookups
        try:
            with self._limit(COMPILE_S):
                lookups = None if known is None else {name: _lookup(name, known[name]) for name in known}
            with self._limit(COMPILE_S):
                return compile_stored(_text(source), "", lookups)
        except MappingInvalid as invalid:
            return invalid
        except YamlError as error:
            return MappingInvalid([Finding.of(error)])
        except EvaluationError as error:
            return MappingInvalid([Finding(Mark("", 1, 1), f"takes {error.message}; make it shorter")])


def _text(source: MappingSource, file: str = "") -> MappingText:
    return MappingText(file, source.text, source.bases, source.files)


def _lookup(name: str, text: str) -> Lookup:
    return parse_lookup(text, f"lookups/{name}.csv", name)


def _weight(source: MappingSource) -> int:
    """What it takes compiled: measured at 40 bytes for each of the text's, and 11 for each of a crosswalk's."""
    return 4_096 + 60 * source.written + 15 * sum(map(len, (source.lookups or {}).values()))


def _invalid(task: Task, findings: list[Finding]) -> Invalid:
    told = [
        (one.message, one.mark.file, one.mark.line, one.mark.column, one.mark.path, one.expression)
        for one in findings
    ]
    return Invalid(task.number, told)
