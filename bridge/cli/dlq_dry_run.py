"""`bridge dlq replay --dry-run`: each request as it would be sent now, by the mapping in force; nothing is sent."""

from collections.abc import Sequence
from typing import Any

import click

from bridge.cli.dlq_bus import LetterContext
from bridge.cli.event_bus import event_bus
from bridge.cli.mapping_preview import PreviewFailed, Subject, in_tenant, previewed, shown
from bridge.settings import Settings
from eventbus.event import HEADER_BACKFILL_ROUTE, EventInvalid, decode_event, encode_json
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.letters import Glance, Letters, WholeLetter
from pipeline.mapping import MappingInvalid
from pipeline.mapping.case_facts import Facts
from pipeline.yaml_nodes import YamlError


class _Failed(Exception):
    """It would be a dead letter again: says why."""

    def __init__(self, class_: str, message: str) -> None:
        super().__init__(message)
        self.class_ = class_


async def dry_run(settings: Settings, glances: Sequence[Glance], *, new_key: bool, as_json: bool) -> int:
    """Shows each in the order in which it would be sent; how many would fail."""
    async with event_bus(settings, "bridge dlq replay") as jetstream:
        rehearsal = Rehearsal(jetstream, Subjects(settings.nats.namespace), new_key=new_key)
        failed = 0
        for glance in glances:
            try:
                result = await rehearsal.of(glance)
            except _Failed as error:
                failed += 1
                result = {"error": {"class": error.class_, "message": str(error)}}
            _say(glance, result, as_json=as_json)
        return failed


class Rehearsal:
    def __init__(self, jetstream: JetStream, subjects: Subjects, *, new_key: bool) -> None:
        self._letters = Letters(jetstream, subjects)
        self._context = LetterContext(jetstream, subjects)
        self._new_key = new_key
        self._subjects: dict[tuple[str, str], Subject] = {}

    async def of(self, glance: Glance) -> dict[str, Any]:
        """As `mapping preview` gives it. Raises _Failed."""
        whole = await self._letters.whole(glance)
        if whole is None:
            return {"skipped": "dealt with meanwhile"}
        if whole.letter is None:
            raise _Failed("letter", whole.why)
        if self._new_key and whole.letter.may_have_arrived:
            raise _Failed(whole.letter.reason, "it may have arrived: --new-key is refused")
        subject = await self._subject(glance)
        try:
            event = decode_event(await self._context.event(whole))
            named = HEADER_BACKFILL_ROUTE in whole.headers
            return previewed(subject, event, Facts(), self._delivery_id(whole), named=named)
        except EventInvalid as error:
            raise _Failed("event", str(error)) from None
        except PreviewFailed as error:
            if error.class_ == "needs":
                return {"needs": "rows or answers that only the delivery itself reads"}
            raise _Failed(error.class_, str(error)) from None

    def _delivery_id(self, whole: WholeLetter) -> str:
        assert whole.letter is not None
        letter = whole.letter
        if not self._new_key:
            return letter.delivery_id
        end = f"/{letter.tenant}/{letter.route}"
        return f"{letter.delivery_id.rpartition(end)[0]}{end}@{letter.delivery_seq}"

    async def _subject(self, glance: Glance) -> Subject:
        key = glance.id.tenant, glance.id.route
        if key not in self._subjects:
            tenant = await self._context.tenant(glance.id.tenant)
            if tenant is None or glance.id.route not in tenant.routes:
                raise _Failed(
                    "removed", "its route is not in force: `bridge tenant apply` first, or discard it"
                )
            try:
                self._subjects[key] = in_tenant(tenant, glance.id.route)
            except (MappingInvalid, YamlError) as error:
                raise _Failed("invalid", str(error)) from None
        return self._subjects[key]


def _say(glance: Glance, result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(encode_json({"id": glance.id.text, "event_id": glance.event_id} | result))
        return
    click.echo(f"── {glance.id.text}  {glance.event_id}")
    if (error := result.get("error")) is not None:
        click.echo(f"would fail again ({error['class']}): {error['message']}\n")
    elif (needs := result.get("needs")) is not None:
        click.echo(f"cannot be shown: the mapping needs {needs}\n")
    else:
        click.echo(f"{shown(result)}\n")
