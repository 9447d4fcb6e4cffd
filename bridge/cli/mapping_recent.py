"""`bridge mapping preview --last`: what the last real events of a route would become, with rows as they are now."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.cli.event_bus import event_bus
from bridge.cli.mapping_preview import PreviewFailed, prepared, shown, walked
from bridge.settings import load_settings
from bridge.source_rows import SourceRowReader
from connectors.protocol import Delivered, RequestInvalid
from eventbus.buckets import Bucket
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.enrichment import Enrichment
from pipeline.jail.frames import MappingSource
from pipeline.jail.pool import RenderPool
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.mapping import (
    ColumnsRead,
    MappingInvalid,
    Rendered,
    RenderError,
    RenderInput,
    RowsRead,
    SavedRead,
)
from pipeline.mapping.case_facts import Facts, label_of, rows_of
from pipeline.mapping.walk import Walk, by_status
from pipeline.recent_events import RecentEvents
from pipeline.rendering import Rendering, Saved
from pipeline.row_reads import Row, SourceAway, SourceSlow
from pipeline.saved_values import SavedValues
from pipeline.tenants.model import Route, Tenant
from pipeline.yaml_tree import Mark


@dataclass(frozen=True, slots=True)
class RecentPreview:
    """One event, and what it would become, or why it would not."""

    event: Mapping[str, Any]
    result: Mapping[str, Any] | PreviewFailed

    @property
    def failed(self) -> bool:
        return isinstance(self.result, PreviewFailed)

    def to_json(self) -> dict[str, Any]:
        """As `mapping preview --json` prints it, and which event it is."""
        result = self.result
        told = {"error": result.to_json()} if isinstance(result, PreviewFailed) else dict(result)
        return {"event_id": self.event.get("id"), **told}

    def shown(self) -> str:
        """As people read it."""
        result, source = self.result, self.event.get("source") or {}
        title = f"{self.event.get('id')}  {self.event.get('op')}  {source.get('commit_ts', '')}"
        said = f"error: {result}" if isinstance(result, PreviewFailed) else shown(result)
        return f"── {title.rstrip()}\n{said}\n"


class RecentPreviews:
    """facts: what is given goes before what is read."""

    def __init__(self, config: Path, tenant: Tenant, route: Route, facts: Facts) -> None:
        self._config = config
        self._tenant = tenant
        self._route = route
        self._facts = facts

    async def last(self, count: int) -> AsyncIterator[RecentPreview]:
        """At most `count` events, oldest first.

        Raises PreviewFailed where the mapping is invalid, RendererBroken, and as reaching NATS does.
        """
        settings = load_settings(self._config, with_sources=False)
        subjects = Subjects(settings.nats.namespace)
        rows = Enrichment(SourceRowReader(lambda: load_settings(self._config).sources))
        async with event_bus(settings, "bridge mapping preview") as jetstream, _renderer() as renderer:
            mapping = await self._mapping(renderer)
            events = await RecentEvents(jetstream, subjects).of(self._route, self._tenant.key, count)
            saved = self._saved(jetstream, subjects)
            try:
                for event in events:
                    yield RecentPreview(event, await self._previewed(mapping, event, rows, saved))
            finally:
                await rows.aclose()

    async def _mapping(self, renderer: Renderer) -> JailedMapping:
        name = self._route.mapping
        text = self._tenant.mappings[name]
        source = MappingSource.of(text, dict(self._tenant.lookups))
        try:
            return await renderer.mapping(self._tenant.name, name, text.file, source)
        except MappingInvalid as invalid:
            raise PreviewFailed.of_mapping(invalid) from None

    def _saved(self, jetstream: JetStream, subjects: Subjects) -> Saved:
        values = SavedValues(Bucket(jetstream, subjects.bucket("SAVED")))

        async def saved(read: SavedRead) -> Any:
            if read.id in self._facts.saved:
                return self._facts.saved[read.id]
            of_key = await values.read(self._tenant.name, read.route, read.key)
            return of_key[read.name].value if read.name in of_key else None

        return saved

    async def _previewed(
        self, mapping: JailedMapping, event: dict[str, Any], rows: Enrichment, saved: Saved
    ) -> Mapping[str, Any] | PreviewFailed:
        tenant, route = self._tenant, self._route
        delivery_id = f"{event.get('id')}/{tenant.name}/{route.name}"
        given = RenderInput(event, tenant.name, route.name, dict(route.params), delivery_id, tenant.timezone)
        rendering = Rendering(mapping, given, _GivenRows(self._facts, rows), saved, tenant.key)
        try:
            found = await self._walk(mapping, rendering)
            return walked(found, [prepared(mapping.facts.connector, request) for request in found.requests])
        except PreviewFailed as failed:
            return failed
        except RenderError as error:
            return PreviewFailed.of_render(error)
        except (SourceAway, SourceSlow) as error:
            class_, message = "needs", f"{error}; tell it with --given"
        except RequestInvalid as error:
            class_, message = "request", str(error)
        return PreviewFailed(class_, message, Mark(mapping.facts.file, 1, 1), "", exit_code=1)

    async def _walk(self, mapping: JailedMapping, rendering: Rendering) -> Walk:
        """As far as answers are given: nothing is sent."""
        found = Walk()
        while True:
            result = await rendering.next()
            if not isinstance(result, Rendered):
                found.end = result
                return found
            found.requests.append(result)
            answer = self._facts.answers.get(label_of(result))
            if answer is None:
                return found
            found.outcome = await mapping.classify(by_status(answer), rendering.given, result)
            if result.last or not isinstance(found.outcome, Delivered):
                return found
            member = "finds" if result.kind == "find" else "answers"
            rendering.know(**{member: {result.step: answer}})


@dataclass(frozen=True, slots=True)
class _GivenRows:
    facts: Facts
    live: Enrichment

    async def rows(self, read: RowsRead, event: dict[str, Any], tenant: str) -> Sequence[Row]:
        if read.name in self.facts.enrich:
            return rows_of(self.facts.enrich[read.name])
        return await self.live.rows(read, event, tenant)

    async def columns(self, read: ColumnsRead, event: dict[str, Any], tenant: str) -> Row | None:
        if all(column in self.facts.columns for column in read.columns):
            return {column: self.facts.columns[column] for column in read.columns}
        return await self.live.columns(read, event, tenant)


@asynccontextmanager
async def _renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer(RenderPool())
    try:
        yield renderer
    finally:
        await renderer.aclose()
