"""`bridge dlq replay --dry-run`: each request as it would be sent now, by the mapping in force; nothing is sent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bridge.cli.dlq_bus import LetterContext
from bridge.cli.event_bus import event_bus
from bridge.cli.live_previews import LivePreviews, live_previews
from bridge.cli.mapping_preview import NEEDS, PreviewFailed, shown
from bridge.cli.previews import TELL_IT, Previews
from bridge.redaction import redact
from bridge.settings import Settings
from eventbus.event import HEADER_BACKFILL_ROUTE, EventInvalid, decode_event, encode_json
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.dlq.letters import Glance, Letters, WholeLetter
from pipeline.mapping.case_facts import Facts
from pipeline.mapping.errors import WAIT_FOR


class _Failed(Exception):
    """It would be a dead letter again: says why."""

    def __init__(self, class_: str, message: str) -> None:
        super().__init__(message)
        self.class_ = class_


async def dry_run(
    settings: Settings, config: Path, glances: Sequence[Glance], *, new_key: bool, as_json: bool
) -> int:
    """Shows each in the order in which it would be sent; how many would fail."""
    subjects = Subjects(settings.nats.namespace)
    async with (
        event_bus(settings, "bridge dlq replay") as jetstream,
        live_previews(config, jetstream, subjects, Facts()) as live,
    ):
        rehearsal = Rehearsal(jetstream, subjects, live, new_key=new_key)
        failed = 0
        for glance in glances:
            try:
                result = await rehearsal.of(glance)
            except _Failed as error:
                failed += 1
                result = {"error": {"class": error.class_, "message": redact(str(error))}}
            _say(glance, result, as_json=as_json)
        return failed


class Rehearsal:
    def __init__(
        self, jetstream: JetStream, subjects: Subjects, live: LivePreviews, *, new_key: bool
    ) -> None:
        self._letters = Letters(jetstream, subjects)
        self._context = LetterContext(jetstream, subjects)
        self._live = live
        self._new_key = new_key
        self._routes: dict[tuple[str, str], Previews | _Failed] = {}

    async def of(self, glance: Glance) -> Mapping[str, Any]:
        """As `mapping preview` gives it. Raises _Failed."""
        whole = await self._letters.whole(glance)
        if whole is None:
            return {"skipped": "dealt with meanwhile"}
        if whole.letter is None:
            raise _Failed("letter", whole.why)
        if self._new_key and whole.letter.may_have_arrived:
            raise _Failed(whole.letter.reason, "it may have arrived: --new-key is refused")
        route = await self._route(glance)
        try:
            event = decode_event(await self._context.event(whole))
        except EventInvalid as error:
            raise _Failed("event", str(error)) from None
        named = HEADER_BACKFILL_ROUTE in whole.headers
        result = await route.of(event, self._delivery_id(whole), named=named)
        if not isinstance(result, PreviewFailed):
            return result
        if result.class_ in (NEEDS, WAIT_FOR):
            return {"needs": redact(result.message.removesuffix(TELL_IT))}
        raise _Failed(result.class_, str(result))

    def _delivery_id(self, whole: WholeLetter) -> str:
        assert whole.letter is not None
        letter = whole.letter
        if not self._new_key:
            return letter.delivery_id
        end = f"/{letter.tenant}/{letter.route}"
        return f"{letter.delivery_id.rpartition(end)[0]}{end}@{letter.delivery_seq}"

    async def _route(self, glance: Glance) -> Previews:
        key = glance.id.tenant, glance.id.route
        if key not in self._routes:
            self._routes[key] = await self._found(*key)
        found = self._routes[key]
        if isinstance(found, _Failed):
            raise found
        return found

    async def _found(self, tenant_name: str, route: str) -> Previews | _Failed:
        tenant = await self._context.tenant(tenant_name)
        if tenant is None or route not in tenant.routes:
            return _Failed("removed", "its route is not in force: `bridge tenant apply` first, or discard it")
        try:
            return await self._live.of(tenant, tenant.routes[route])
        except PreviewFailed as error:
            return _Failed(error.class_, str(error))


def _say(glance: Glance, result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(encode_json({"id": glance.id.text, "event_id": glance.event_id, **result}))
        return
    click.echo(f"── {glance.id.text}  {glance.event_id}")
    if (error := result.get("error")) is not None:
        click.echo(f"would fail again ({error['class']}): {error['message']}\n")
    elif (needs := result.get("needs")) is not None:
        click.echo(f"cannot be shown now: {needs}\n")
    else:
        click.echo(f"{shown(result)}\n")
