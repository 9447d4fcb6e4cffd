"""What an event would become in a mapping, as far as its answers are given; nothing is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.cli.mapping_preview import NEEDS, PreviewFailed, Subject, prepared, walked
from connectors.protocol import Delivered, RequestInvalid
from pipeline.delivery.rendering import Rendering, Rows, Saved
from pipeline.jail.renderer import REPORT, RenderDefect
from pipeline.mapping import ColumnsRead, Known, Rendered, RenderError, RenderInput, RowsRead, SavedRead
from pipeline.mapping.case_facts import Facts, NotGiven, label_of, not_read
from pipeline.mapping.walk import Walk, judgement
from pipeline.rows.row_reads import ReadInvalid, Row, SourceAway, SourceSlow
from pipeline.yaml_tree import Mark

TELL_IT = "; tell it with --given"


@dataclass(frozen=True, slots=True)
class Previews:
    """rows, saved: what is not given; None: nothing is."""

    subject: Subject
    facts: Facts
    rows: Rows | None = None
    saved: Saved | None = None

    async def of(
        self, event: dict[str, Any], delivery_id: str = "", *, named: bool = False
    ) -> Mapping[str, Any] | PreviewFailed:
        """`{"connector", …}` as the connector prepares it, or `{"skipped": …}`, or of steps, as far as the facts have
        answers, `{"steps": [{"step", …}, …]}`, with `save` where the last one is answered.

        Raises RendererBroken.
        """
        rendering = self._rendering(event, delivery_id, named=named)
        mapping = self.subject.mapping.facts
        try:
            found = await self._walk(rendering)
            return walked(found, [prepared(self.subject, request) for request in found.requests])
        except PreviewFailed as failed:
            return failed
        except RenderError as error:
            return PreviewFailed.of_render(error)
        except NotGiven as missing:
            class_, message = NEEDS, str(missing)
        except (SourceAway, SourceSlow) as error:
            class_, message = NEEDS, f"{error}{TELL_IT}"
        except RequestInvalid as error:
            class_, message = "request", str(error)
        except RenderDefect as error:
            class_, message = "defect", f"{error}. {REPORT}"
        return PreviewFailed(class_, message, Mark(mapping.file, 1, 1), "", exit_code=1)

    def _rendering(self, event: dict[str, Any], delivery_id: str, *, named: bool) -> Rendering:
        of = self.subject
        delivery_id = delivery_id or f"{event.get('id')}/{of.tenant}/{of.route}"
        given = RenderInput(event, of.tenant, of.route, dict(of.params), delivery_id, of.timezone, named)
        rendering = Rendering(of.mapping, given, _GivenRows(self.facts, self.rows), self._saved, of.key)
        rendering.known(Known(unsure=self.facts.unsure, columns=self.facts.columns))
        return rendering

    async def _saved(self, read: SavedRead) -> Any:
        if read.id in self.facts.saved or self.saved is None:
            return self.facts.saved.get(read.id)
        return await self.saved(read)

    async def _walk(self, rendering: Rendering) -> Walk:
        """As far as answers are given: nothing is sent."""
        found = Walk()
        while True:
            result = await rendering.next()
            if not isinstance(result, Rendered):
                found.end = result
                return found
            found.requests.append(result)
            answer = self.facts.answers.get(label_of(result))
            if answer is None:
                return found
            mapping = self.subject.mapping
            heard = judgement(mapping.facts.connector, answer, result.request)
            found.outcome = await mapping.classify(heard, rendering.given, result)
            if result.last or not isinstance(found.outcome, Delivered):
                return found
            member = "finds" if result.kind == "find" else "answers"
            rendering.know(**{member: {result.step: answer}})


@dataclass(frozen=True, slots=True)
class _GivenRows:
    """Given rows go before those that are read. Raises NotGiven, ReadInvalid where nothing can be read."""

    facts: Facts
    live: Rows | None

    async def rows(self, read: RowsRead, event: dict[str, Any], tenant: str) -> Sequence[Row]:
        try:
            return self.facts.rows(read)
        except NotGiven:
            if self.live is None:
                raise
        return await self.live.rows(read, event, tenant)

    async def columns(self, read: ColumnsRead, event: dict[str, Any], tenant: str) -> Row | None:
        if self.live is None:
            raise ReadInvalid(not_read(read.columns))
        return await self.live.columns(read, event, tenant)
