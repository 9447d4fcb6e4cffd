"""`bridge mapping preview --last`: what the last real events of a route would become, with rows as they are now."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.cli.event_bus import event_bus
from bridge.cli.live_previews import live_previews
from bridge.cli.mapping_preview import PreviewFailed, shown
from bridge.settings import load_settings
from eventbus.subjects import Subjects
from pipeline.mapping.case_facts import Facts
from pipeline.recent_events import RecentEvents
from pipeline.tenants.model import Route, Tenant


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
        async with (
            event_bus(settings, "bridge mapping preview") as jetstream,
            live_previews(self._config, jetstream, subjects, self._facts) as live,
        ):
            of_route = await live.of(self._tenant, self._route)
            for event in await RecentEvents(jetstream, subjects).of(self._route, self._tenant.key, count):
                yield RecentPreview(event, await of_route.of(event))
