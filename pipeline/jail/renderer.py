"""What the rest of the house asks the rendering processes: which mapping a text is, its request for an event, its word
on an answer.

A text is compiled once, for all tenants that have it alike: with the crosswalks that it uses, and whatever its file is
called. Everything may raise RendererBroken.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar

import msgspec
import structlog

from connectors.protocol import Outcome
from eventbus.event import encode_json
from pipeline.jail.frames import (
    LARGEST,
    Answer,
    Defect,
    Failed,
    FrameInvalid,
    Invalid,
    Lacking,
    MappingSource,
    Op,
    to_json,
)
from pipeline.jail.frames import Result as Answered
from pipeline.jail.place import Work
from pipeline.jail.pool import RendererBroken, RenderPool
from pipeline.jail.work import (
    CasesGiven,
    Judgement,
    read_facts,
    read_findings,
    read_keys,
    read_outcome,
    read_problems,
    read_result,
    spoken,
)
from pipeline.jail.zone_files import is_zone, zone_file
from pipeline.mapping import (
    Done,
    Finding,
    MappingFacts,
    MappingInvalid,
    Rendered,
    RenderError,
    RenderInput,
    Result,
    Waits,
)
from pipeline.yaml_tree import Mark

MAPPINGS = 20_000
"""Of so many texts it is remembered what they are: a kilobyte or two each."""
RENDER_S = 0.4
"""Seconds of CPU for one rendering: a thousand times what one takes."""
ORDER_S = 0.02
COSTLY_S = 60.0
"""So long a text is not compiled again that took more than it may."""
CASE_S = 0.8
"""For one case, compiling included."""
MARGIN = 64 * 1024
REPORT = "This is a defect of the bridge: please report it, with the mapping"

log = structlog.get_logger()

T = TypeVar("T")
_Known: TypeAlias = MappingFacts | tuple[Finding, ...]


class RenderDefect(Exception):
    """A rendering failed in a way that it must not: ours to mend."""


class Renderer:
    """Of one event loop. Its children are started when they are needed."""

    def __init__(self) -> None:
        self._pool = RenderPool()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._lookups: OrderedDict[bytes, frozenset[str]] = OrderedDict()
        """Which crosswalks a text uses, by the text's digest."""
        self._costly: OrderedDict[bytes, tuple[float, _Known]] = OrderedDict()
        """Texts that took more than they may, and until when that is believed: a busy machine may have been to blame."""
        self.unordered: OrderedDict[bytes, None] = OrderedDict()
        """Mappings whose `ordering` is not asked any more."""
        self._asking: dict[bytes, asyncio.Task[_Known]] = {}

    async def warm_up(self) -> None:
        """See RenderPool."""
        await self._pool.warm_up()

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def mapping(self, tenant: str, name: str, file: str, source: MappingSource) -> "JailedMapping":
        """Raises MappingInvalid."""
        _check_size(source, file)
        source, digest = self._narrowed(source)
        known = self._known.get(digest) or self._costly_now(digest)
        if known is None:
            known = await self._compiled(tenant, source, digest)
        if not isinstance(known, MappingFacts):
            raise MappingInvalid([_in_file(finding, file) for finding in known])
        warnings = tuple(_in_file(finding, file) for finding in known.warnings)
        source, digest = self._narrowed(source)
        facts = replace(known, name=name, file=file, warnings=warnings)
        return JailedMapping(facts, self, source, digest)

    async def problems(self, source: MappingSource, given: CasesGiven, zones: Iterable[str]) -> list[str]:
        """What is wrong with each of a mapping's cases, in their order; empty where nothing is.

        zones: that the cases name; of one that there is not the case itself tells.

        Raises:
            MappingInvalid: with a case's own crosswalks, too. RenderError: they take more than they may.
        """
        _check_size(source, given.file)
        work = Work(
            "cases", _digest(source), source, b"", to_json(given), tuple(filter(is_zone, zones)), CASE_S
        )
        return _read(read_problems, _body(await self.do("", work), given.file))

    async def unnoticed(
        self, source: MappingSource, given: CasesGiven, zones: Iterable[str]
    ) -> list[Finding]:
        """What could be taken out of a mapping without any of its cases noticing; they hold. Raises as `problems`."""
        work = Work(
            "unnoticed", _digest(source), source, b"", to_json(given), tuple(filter(is_zone, zones)), CASE_S
        )
        return _read(read_findings, _body(await self.do("", work), given.file))

    async def _compiled(self, tenant: str, source: MappingSource, digest: bytes) -> _Known:
        """Asked once, however many wait for it; who is cancelled meanwhile takes nothing from the others."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._ask(tenant, source, digest))
            asking.add_done_callback(lambda task: self._asked(digest, task))
        return await asyncio.shield(asking)

    def _asked(self, digest: bytes, asking: asyncio.Task[_Known]) -> None:
        del self._asking[digest]
        if not asking.cancelled():
            asking.exception()  # whether or not somebody still waits for it

    async def _ask(self, tenant: str, source: MappingSource, digest: bytes) -> _Known:
        known: _Known
        try:
            answer = await self.do(tenant, Work("facts", digest, source))
            known = _read(read_facts, _body(answer, ""))
        except MappingInvalid as invalid:
            known = tuple(invalid.findings)
        except RenderError as error:
            known = (Finding(error.mark, error.message, error.expression),)
            if error.class_ == "limit":
                _remember(self._costly, digest, (asyncio.get_running_loop().time() + COSTLY_S, known))
                return known
        except RenderDefect as error:  # of one mapping: everything else of this and other tenants goes on
            return (Finding(Mark("", 1, 1), f"the bridge cannot compile it: {error}. {REPORT}"),)
        else:
            _remember(self._lookups, _text_digest(source), known.lookups)
            source, narrowed = self._narrowed(source)
            _remember(self._known, narrowed, known)
        _remember(self._known, digest, known)
        return known

    def _costly_now(self, digest: bytes) -> _Known | None:
        until, known = self._costly.get(digest, (0.0, None))
        return known if asyncio.get_running_loop().time() < until else None

    def _narrowed(self, source: MappingSource) -> tuple[MappingSource, bytes]:
        """With the crosswalks alone that the text uses, once these are known."""
        used = self._lookups.get(_text_digest(source))
        if used is not None and source.lookups is not None:
            lookups = {name: text for name, text in source.lookups.items() if name in used}
            source = msgspec.structs.replace(source, lookups=lookups)
        return source, _digest(source)

    async def do(self, tenant: str, work: Work) -> Answer:
        """Raises RenderError for what is too large."""
        size = len(work.event) + len(work.given)
        if size > LARGEST - MARGIN:
            raise RenderError(
                "limit", f"the event has {size} bytes; {LARGEST} can be rendered", Mark("", 1, 1)
            )
        try:
            for zone in work.zones:
                zone_file(zone)
        except LookupError as error:
            raise RendererBroken(f"this machine does not know a time zone: {error}") from None
        return await self._pool.do(tenant, work)


@dataclass(frozen=True, slots=True)
class JailedMapping:
    """A mapping of one tenant that is compiled, and rendered, elsewhere."""

    facts: MappingFacts
    _renderer: Renderer
    _source: MappingSource
    _digest: bytes

    async def render(self, given: RenderInput) -> Result:
        """See Mapping.render.

        Raises:
            RenderError: class `limit` also where it took more than it may.
            RendererBroken: see there. RenderDefect.
        """
        result = _read(read_result, await self._asked("render", given, given))
        return _with_file(result, self.facts.file)

    async def classify(
        self, outcome: Outcome, given: RenderInput, rendered: Rendered | None = None
    ) -> Outcome:
        """See Mapping.classify. Raises as `render`."""
        if self.facts.leaves(outcome, rendered):
            return outcome
        asked = Judgement(_without_event(given), spoken(outcome), rendered)
        said = _read(read_outcome, await self._asked("classify", given, asked))
        return replace(said, answer=outcome.answer)

    async def ordering_keys(self, given: RenderInput) -> tuple[Any, ...]:
        """See Mapping.ordering_keys. A lane waits for them, so an `ordering` that once took more than it may is not
        asked again: it has no value.

        Raises RendererBroken.
        """
        if self._digest in self._renderer.unordered:
            return ()
        work = replace(self._work("order", given, given, ORDER_S), waits=False)
        try:
            answer = await self._renderer.do(given.tenant, work)
            keys = _read(read_keys, _body(answer, self.facts.file))
        except (RenderError, RenderDefect) as error:
            return self._unordered(given, str(error))
        if isinstance(answer, Answered) and answer.strain:
            return self._unordered(given, "it takes more computing than it may")
        return keys

    def _unordered(self, given: RenderInput, why: str) -> tuple[Any, ...]:
        _remember(self._renderer.unordered, self._digest, None)
        log.warning("an ordering counts as none", route=f"{given.tenant}/{given.route}", because=why)
        return ()

    async def _asked(self, op: Op, given: RenderInput, what: RenderInput | Judgement) -> bytes:
        work = self._work(op, given, what, RENDER_S)
        return _body(await self._renderer.do(given.tenant, work), self.facts.file)

    def _work(self, op: Op, given: RenderInput, what: RenderInput | Judgement, cpu_s: float) -> Work:
        told = to_json(_without_event(what) if isinstance(what, RenderInput) else what)
        event = given.payload or encode_json(given.event)
        return Work(op, self._digest, self._source, event, told, (given.timezone,), cpu_s)


def _without_event(given: RenderInput) -> RenderInput:
    """It is told as bytes of its own."""
    return RenderInput(
        *(
            {},
            given.tenant,
            given.route,
            given.params,
            given.delivery_id,
            given.timezone,
            given.named,
            given.known,
        )
    )


def _body(answer: Answer, file: str) -> bytes:
    """What the child answers. file: the mapping's, where the child knows none."""
    match answer:
        case Answered():
            return answer.body
        case Failed():
            mark = Mark(answer.mark[0] or file, answer.mark[1], answer.mark[2])
            raise RenderError(answer.class_, answer.message, mark, answer.expression)
        case Invalid():
            raise MappingInvalid(
                [Finding(Mark(of or file, line, column, path), message, expression)
                 for message, of, line, column, path, expression in answer.findings]
            )  # fmt: skip
        case Defect() | Lacking():
            raise RenderDefect(getattr(answer, "message", "the mapping is not there"))


def _read(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return read(body)
    except FrameInvalid as error:
        raise RenderDefect(f"the renderer answered what cannot be read: {error}") from None


def _in_file(finding: Finding, file: str) -> Finding:
    mark = finding.mark
    return finding if mark.file else replace(finding, mark=replace(mark, file=file))


def _digest(source: MappingSource) -> bytes:
    digest = sha256(b"known" if source.lookups is not None else b"")
    digest.update(_text_digest(source))
    for part in (part for pair in sorted((source.lookups or {}).items()) for part in pair):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.digest()


def _with_file(result: Result, file: str) -> Result:
    """The child knows the mapping's own file by no name."""
    match result:
        case Waits(file=""):
            return msgspec.structs.replace(result, file=file)
        case Done(problems=problems) if problems:
            named = tuple(f"{file}{each}" if each.startswith(":") else each for each in problems)
            return msgspec.structs.replace(result, problems=named)
    return result


def _text_digest(source: MappingSource) -> bytes:
    """Of all but the crosswalks."""
    return sha256(msgspec.msgpack.encode((source.text, source.bases, sorted(source.files.items())))).digest()


def _check_size(source: MappingSource, file: str) -> None:
    if _size_of(source) > LARGEST - MARGIN:
        where = Mark(file, 1, 1)
        raise MappingInvalid([Finding(where, f"with its crosswalks it is larger than {LARGEST} bytes")])


def _size_of(source: MappingSource) -> int:
    return source.written + sum(map(len, (source.lookups or {}).values()))


def _remember(memory: OrderedDict[bytes, T], digest: bytes, what: T) -> None:
    memory[digest] = what
    if len(memory) > MAPPINGS:
        memory.popitem(last=False)
