"""`bridge dlq export`: dead letters as JSON lines, whole, or as a table for a spreadsheet."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from bridge.cli.context import config_option
from bridge.cli.dlq_bus import LetterContext
from bridge.cli.dlq_replay import chosen_letters
from bridge.cli.dlq_selection import Chosen, selecting
from bridge.cli.dlq_words import glance_json
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.settings import Settings, load_settings
from eventbus.event import EventInvalid, decode_event, encode_json
from eventbus.subjects import Subjects
from pipeline.dlq.letters import Glance, Letters, WholeLetter

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula, and run."""

COLUMNS = (
    *(
        "id",
        "dead_since",
        "tenant",
        "route",
        "reason",
        "class",
        "status",
        "message",
        "table",
        "operation",
        "key",
    ),
    *("event_id", "delivery_id", "attempts", "first_attempt", "last_attempt", "mapping_version"),
)

Line = Callable[[Glance, WholeLetter, bytes], bytes]


@click.command()
@selecting
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="Default: jsonl."
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Default: stdout."
)
@config_option
def export(chosen: Chosen, *, form: str, output: Path | None, config: Path) -> None:
    """Write dead letters out, oldest first: with their events as JSON lines, or without as CSV. They stay open."""
    settings = load_settings(config, with_sources=False, with_secrets=False)
    selection = chosen_letters(settings, chosen, everything=True)
    line = _csv_line if form == "csv" else _json_line
    head = _csv(COLUMNS) if form == "csv" else b""
    if output is None:
        with click.open_file("-", "wb") as stream:
            count = run(_write(settings, selection.glances, line, stream, head))
    else:
        partial = output.with_name(f"{output.name}.part")
        try:
            with partial.open("wb") as stream:
                count = run(_write(settings, selection.glances, line, stream, head))
            partial.replace(output)
        except OSError as error:
            raise Usage(f"{output}: cannot be written: {error.strerror}") from None
    what = "dead letter written to" if count == 1 else "dead letters written to"
    click.echo(
        f"{count:,} {what} {output or 'stdout'}; {'it stays' if count == 1 else 'they stay'} open", err=True
    )


async def _write(
    settings: Settings, glances: Sequence[Glance], line: Line, stream: IO[bytes], head: bytes
) -> int:
    count = 0
    async with event_bus(settings, "bridge dlq export") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        letters, context = Letters(jetstream, subjects), LetterContext(jetstream, subjects)
        stream.write(head)
        for glance in glances:
            whole = await letters.whole(glance)
            if whole is not None:
                stream.write(line(glance, whole, await context.event(whole)))
                count += 1
    return count


def _json_line(glance: Glance, whole: WholeLetter, event: bytes) -> bytes:
    answer = whole.letter.error.response if whole.letter else None
    members = glance_json(glance, whole) | {"response": answer, "event": msgspec.Raw(event)}
    return encode_json(members) + b"\n"


def _csv_line(glance: Glance, whole: WholeLetter, event: bytes) -> bytes:
    members = glance_json(glance, whole) | _of_event(event)
    return _csv([members[column] for column in COLUMNS])


def _of_event(payload: bytes) -> dict[str, Any]:
    try:
        event = decode_event(payload)
    except EventInvalid:
        return {"table": None, "operation": None, "key": None}
    source = event.get("source") or {}
    return {
        "table": f"{source.get('schema')}.{source.get('table')}",
        "operation": event.get("op"),
        "key": encode_json(event.get("key")).decode(),
    }


def _csv(cells: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(cell) for cell in cells])
    return line.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
