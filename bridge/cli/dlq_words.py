"""How dead letters are shown: a line, a table, all that is known of one, and one JSON object."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.redaction import redact
from eventbus.event import encode_json
from pipeline.delivery.attempt import moment
from pipeline.dlq.advice import advice
from pipeline.dlq.letters import Glance, WholeLetter
from pipeline.dlq.stored_letter import StoredLetter

HEAD = ("dead since (UTC)", "id", "reason", "class", "event", "what happened")


def row(glance: Glance, whole: WholeLetter | None) -> tuple[str, ...]:
    """One line of `list`, by column."""
    letter = whole.letter if whole else None
    message = letter.error.message if letter else (whole.why if whole else "")
    return (
        when(glance.time),
        glance.id.text,
        glance.reason or "?",
        glance.class_,
        glance.event_id,
        redact(" ".join(message.split())),
    )


def when(seconds: float) -> str:
    """`2026-11-24 03:28:19`, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> str:
    """Columns side by side; the last one takes what is left of `width` (None: all that it needs)."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines: list[str] = []
    for cells in (head, *rows):
        padded = [cell.ljust(size) for cell, size in zip(cells[:-1], widths[:-1], strict=True)]
        lines.append(_cut("  ".join([*padded, cells[-1]]).rstrip(), width))
    return "\n".join(lines)


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


SUMMARY_HEAD = ("open", "route", "reason", "class", "oldest (UTC)", "newest (UTC)")
SummaryRow = tuple[int, str, str, str, float, float]


def summary(glances: Iterable[Glance]) -> list[SummaryRow]:
    """Count, `tenant/route`, reason, class, oldest and newest; the largest count first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    times: dict[tuple[str, str, str], tuple[float, float]] = {}
    for glance in glances:
        kind = (f"{glance.id.tenant}/{glance.id.route}", glance.reason or "?", glance.class_)
        counts[kind] += 1
        first, last = times.get(kind, (glance.time, glance.time))
        times[kind] = min(first, glance.time), max(last, glance.time)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [(count, *kind, *times[kind]) for kind, count in ordered]


def glance_json(glance: Glance, whole: WholeLetter | None) -> dict[str, Any]:
    """One flat object, without the event."""
    letter = whole.letter if whole else None
    return {
        "id": glance.id.text,
        "tenant": glance.id.tenant,
        "route": glance.id.route,
        "delivery_seq": glance.id.seq,
        "dead_since": moment(glance.time),
        "reason": glance.reason or None,
        "class": glance.class_ or None,
        "status": letter.error.status if letter else None,
        "message": redact(letter.error.message) if letter else (whole.why if whole else None),
        "event_id": glance.event_id,
        "delivery_id": letter.delivery_id if letter else None,
        "attempts": letter.attempts if letter else None,
        "first_attempt": letter.first_attempt if letter else None,
        "last_attempt": letter.last_attempt if letter else None,
        "mapping_version": letter.mapping_version if letter else None,
        "original_seq": glance.original,
    }


def shown_json(glance: Glance, whole: WholeLetter, event: bytes, attempts: list[dict[str, Any]]) -> bytes:
    """`glance_json` with the event, the answer, the attempts and the advice."""
    letter = whole.letter
    members = glance_json(glance, whole) | {
        "response": letter.error.response if letter else None,
        "advisory": letter.advisory if letter else None,
        "tried": attempts,
        "advice": advice(glance.id.text, letter) if letter else whole.why,
        "event": msgspec.Raw(event),
    }
    return encode_json(members)


def shown(glance: Glance, whole: WholeLetter, event: bytes, attempts: list[dict[str, Any]]) -> str:
    """All that is known of one, for people."""
    letter = whole.letter
    if letter is None:
        return f"{glance.id.text}: {whole.why}"
    error = letter.error
    answered = f", HTTP {error.status}" if error.status is not None else ""
    facts = [
        ("dead since", f"{when(glance.time)} UTC"),
        ("reason", f"{letter.reason} ({error.class_}{answered})"),
        ("error", redact(error.message)),
        ("answer", "" if bytes(error.response) == b"null" else _indented(bytes(error.response))),
        ("do", advice(glance.id.text, letter)),
        ("delivery", letter.delivery_id),
        ("replay of", f"delivery {glance.original}" if glance.original != glance.id.seq else ""),
        ("attempts", _attempts(letter)),
        ("mapping", letter.mapping_version or ""),
        ("advisory", letter.advisory or ""),
    ]
    lines = [f"{name:<11}{_hanging(text, 11)}" for name, text in facts if text]
    lines += ["", "tried:"] * bool(attempts) + [f"  {_attempt(one)}" for one in attempts]
    return "\n".join([glance.id.text, *lines, "", "event:", _indented(event)])


def _attempts(letter: StoredLetter) -> str:
    if letter.first_attempt is None:
        return str(letter.attempts)
    return f"{letter.attempts}, from {letter.first_attempt} to {letter.last_attempt}"


def _attempt(record: dict[str, Any]) -> str:
    status = f" {record['status']}" if record.get("status") is not None else ""
    message = f": {redact(str(record['message']))}" if record.get("message") else ""
    return (
        f"{record.get('began')}  #{record.get('attempt')} {record.get('outcome')}{status}, {record.get('ms')} ms"
        f" → {record.get('then')}{message}"
    )


def _hanging(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by)


def _indented(text: bytes) -> str:
    """JSON over several lines, each number in its own digits."""
    try:
        return msgspec.json.format(text, indent=2).decode()
    except msgspec.DecodeError:
        return text.decode("utf-8", "replace")
