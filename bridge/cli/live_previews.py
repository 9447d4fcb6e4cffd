"""What events of routes would become, with rows and saved values as they are now; nothing is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.cli.mapping_preview import of_tenant
from bridge.cli.previews import Previews
from bridge.settings import load_settings
from bridge.source_rows import SourceRowReader
from eventbus.buckets import Bucket
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.delivery.rendering import Saved
from pipeline.delivery.saved_values import SavedValues
from pipeline.jail.renderer import Renderer
from pipeline.mapping import SavedRead
from pipeline.mapping.case_facts import Facts
from pipeline.rows.enrichment import Enrichment
from pipeline.tenants.model import Route, Tenant


@asynccontextmanager
async def live_previews(
    config: Path, jetstream: JetStream, subjects: Subjects, facts: Facts
) -> AsyncIterator["LivePreviews"]:
    """facts: what is given goes before what is read. bridge.yaml's sources are read when a row is asked for."""
    rows = Enrichment(SourceRowReader(lambda: load_settings(config).sources))
    renderer = Renderer()
    try:
        saved = SavedValues(Bucket(jetstream, subjects.bucket("SAVED")))
        yield LivePreviews(facts, renderer, rows, saved)
    finally:
        await renderer.aclose()
        await rows.aclose()


@dataclass(frozen=True, slots=True)
class LivePreviews:
    facts: Facts
    renderer: Renderer
    rows: Enrichment
    saved: SavedValues

    async def of(self, tenant: Tenant, route: Route) -> Previews:
        """Raises PreviewFailed where the mapping is invalid, RendererBroken."""
        subject = await of_tenant(self.renderer, tenant, route)
        return Previews(subject, self.facts, self.rows, self._saved_of(tenant))

    def _saved_of(self, tenant: Tenant) -> Saved:
        async def saved(read: SavedRead) -> Any:
            of_key = await self.saved.read(tenant.name, read.route, read.key)
            return of_key[read.name].value if read.name in of_key else None

        return saved
