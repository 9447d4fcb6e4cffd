"""What events of a route would become, with rows and saved values as they are now; nothing is sent."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.cli.mapping_preview import NEEDS, PreviewFailed, prepared, walked
from bridge.settings import load_settings
from bridge.source_rows import SourceRowReader
from connectors.protocol import Delivered, RequestInvalid
from eventbus.buckets import Bucket
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.enrichment import Enrichment
from pipeline.jail.frames import MappingSource
from pipeline.jail.pool import RenderPool
from pipeline.jail.renderer import REPORT, JailedMapping, RenderDefect, Renderer
from pipeline.mapping import (
    ColumnsRead,
    Known,
    MappingInvalid,
    Rendered,
    RenderError,
    RenderInput,
    RowsRead,
    SavedRead,
)
from pipeline.mapping.case_facts import Facts, label_of, rows_of
from pipeline.mapping.walk import Walk, by_status
from pipeline.rendering import Rendering, Saved
from pipeline.row_reads import Row, SourceAway, SourceSlow
from pipeline.saved_values import SavedValues
from pipeline.tenants.model import Route, Tenant
from pipeline.yaml_tree import Mark

TELL_IT = "; tell it with --given"


@asynccontextmanager
async def live_previews(
    config: Path, jetstream: JetStream, subjects: Subjects, facts: Facts
) -> AsyncIterator["LivePreviews"]:
    """facts: what is given goes before what is read. bridge.yaml's sources are read when a row is asked for."""
    rows = Enrichment(SourceRowReader(lambda: load_settings(config).sources))
    renderer = Renderer(RenderPool())
    try:
        saved = SavedValues(Bucket(jetstream, subjects.bucket("SAVED")))
        yield LivePreviews(facts, renderer, rows, saved)
    finally:
        await renderer.aclose()
        await rows.aclose()


class LivePreviews:
    def __init__(self, facts: Facts, renderer: Renderer, rows: Enrichment, saved: SavedValues) -> None:
        self._facts = facts
        self._renderer = renderer
        self._rows = rows
        self._saved = saved

    async def of(self, tenant: Tenant, route: Route) -> "RoutePreviews":
        """Raises PreviewFailed where the mapping is invalid, RendererBroken."""
        text = tenant.mappings[route.mapping]
        source = MappingSource.of(text, dict(tenant.lookups))
        try:
            mapping = await self._renderer.mapping(tenant.name, route.mapping, text.file, source)
        except MappingInvalid as invalid:
            raise PreviewFailed.of_mapping(invalid) from None
        return RoutePreviews(
            tenant, route, mapping, self._facts, _GivenRows(self._facts, self._rows), self._saved_of(tenant)
        )

    def _saved_of(self, tenant: Tenant) -> Saved:
        async def saved(read: SavedRead) -> Any:
            if read.id in self._facts.saved:
                return self._facts.saved[read.id]
            of_key = await self._saved.read(tenant.name, read.route, read.key)
            return of_key[read.name].value if read.name in of_key else None

        return saved


@dataclass(frozen=True, slots=True)
class RoutePreviews:
    """Of one route's events."""

    tenant: Tenant
    route: Route
    mapping: JailedMapping
    facts: Facts
    rows: "_GivenRows"
    saved: Saved

    async def previewed(
        self, event: dict[str, Any], delivery_id: str = "", *, named: bool = False
    ) -> Mapping[str, Any] | PreviewFailed:
        """As `mapping_preview.previewed`."""
        tenant, route, mapping = self.tenant, self.route, self.mapping
        delivery_id = delivery_id or f"{event.get('id')}/{tenant.name}/{route.name}"
        given = RenderInput(
            event, tenant.name, route.name, dict(route.params), delivery_id, tenant.timezone, named
        )
        rendering = Rendering(mapping, given, self.rows, self.saved, tenant.key)
        rendering.known(Known(unsure=self.facts.unsure))
        try:
            found = await self._walk(rendering)
            return walked(found, [prepared(mapping.facts.connector, request) for request in found.requests])
        except PreviewFailed as failed:
            return failed
        except RenderError as error:
            return PreviewFailed.of_render(error)
        except (SourceAway, SourceSlow) as error:
            class_, message = NEEDS, f"{error}{TELL_IT}"
        except RequestInvalid as error:
            class_, message = "request", str(error)
        except RenderDefect as error:
            class_, message = "defect", f"{error}. {REPORT}"
        return PreviewFailed(class_, message, Mark(mapping.facts.file, 1, 1), "", exit_code=1)

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
            found.outcome = await self.mapping.classify(by_status(answer), rendering.given, result)
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
