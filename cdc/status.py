"""What `bridge cdc status` says: where a slot stands, in numbers and in a sentence. Pure; `status_reading` reads the facts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cdc.capture_state import Answer
from cdc.held_wal import passes, why_held
from cdc.position import Position
from cdc.settings import SourceSettings
from cdc.source_facts import SlotState
from eventbus.condition import Matter
from eventbus.lsn import format_lsn

_BAD = ("missing", "lost", "moved")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the slot, as PostgreSQL tells. application, address, since: None where that is not shown to our login."""

    pid: int
    application: str | None = None
    address: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """last_event: when the source's last event was stored, where there is one; answers: of the roll call."""

    slot: SlotState
    position: Position | None
    reader: Reader | None
    last_event: datetime | None
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who reads the slot. host, process: of the capture that does, where it answered; the others as `Reader`."""

    pid: int
    application: str | None
    address: str | None
    since: str | None
    host: str | None
    process: int | None


@dataclass(frozen=True, slots=True)
class Standby:
    """A capture that waits for the slot. since: RFC 3339."""

    host: str
    process: int
    since: str


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """Sizes in bytes, times in seconds and RFC 3339, LSNs as text, None where unknown: docs/operator.md names each.

    state: running, stopped, missing (no slot), lost (the slot cannot be read any more) or moved (it is confirmed beyond
    what is published).
    """

    source: str
    slot: str
    state: str
    owner: Owner | None
    standbys: Sequence[Standby]
    stalled: str | None
    blocked: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    events_per_second: float | None
    last_event: str | None
    last_event_age_seconds: float | None
    held_bytes: int | None
    wal_limit: int | None
    wal_limit_passed: bool
    wal_status: str | None
    safe_wal_bytes: int | None
    confirmed: str | None
    published: str | None
    wal_end: str | None
    epoch: int | None
    findings: Sequence[Matter] = field(default=())
    summary: str = ""

    @property
    def holds(self) -> bool:
        """Capture can go on: there is a slot that it may read, and what reads it moves."""
        return self.state not in _BAD and self.stalled is None and self.blocked is None


def status_of(source: SourceSettings, facts: StatusFacts, now: datetime) -> CaptureStatus:
    slot, position = facts.slot, facts.position
    mine = _answer_of(facts)
    lag = max(0, slot.wal_end - position.mark.flush) if position and slot.wal_end is not None else None
    seconds = _lag_seconds(position, mine, lag, now)
    state = _state(slot, position)
    return CaptureStatus(
        source=source.name,
        slot=source.slot,
        state=state,
        owner=_owner(facts.reader, mine),
        standbys=[Standby(each.host, each.process, each.since) for each in facts.answers if each is not mine],
        stalled=mine.stalled if mine else None,
        blocked=mine.blocked if mine else None,
        lag_bytes=lag,
        lag_seconds=seconds,
        events_per_second=mine.events_per_second if mine else None,
        last_event=facts.last_event.isoformat(timespec="milliseconds") if facts.last_event else None,
        last_event_age_seconds=_age(facts.last_event, now),
        held_bytes=slot.held_wal,
        wal_limit=source.wal_limit,
        wal_limit_passed=passes(slot.held_wal, source.wal_limit),
        wal_status=slot.wal_status,
        safe_wal_bytes=slot.safe_wal,
        confirmed=_lsn(slot.confirmed_flush),
        published=position.flush if position else None,
        wal_end=_lsn(slot.wal_end),
        epoch=position.epoch if position else None,
        findings=_findings(source, facts, mine),
        summary=_summary(source, state, facts, lag, seconds),
    )


def _answer_of(facts: StatusFacts) -> Answer | None:
    """The owner's."""
    pid = facts.slot.active_pid
    return next((each for each in facts.answers if pid is not None and each.walsender == pid), None)


def _owner(reader: Reader | None, answer: Answer | None) -> Owner | None:
    if reader is None:
        return None
    host, process = (answer.host, answer.process) if answer else (None, None)
    return Owner(reader.pid, reader.application, reader.address, reader.since, host, process)


def _lag_seconds(
    position: Position | None, mine: Answer | None, lag: int | None, now: datetime
) -> float | None:
    """As the owner's heartbeat measures it; else the age of the last position, if anything is behind it."""
    if mine is not None and mine.lag_seconds is not None:
        return mine.lag_seconds
    if position is None or not position.written:
        return None
    return _age(datetime.fromisoformat(position.written), now) if lag else 0.0


def _age(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else round(max(0.0, (now - then).total_seconds()), 3)


def _state(slot: SlotState, position: Position | None) -> str:
    if not slot.exists:
        return "missing"
    if slot.wal_status == "lost" or slot.invalidation is not None:
        return "lost"
    if slot.active_pid is not None:
        return "running"
    published = position.mark.flush if position and not position.dropped else None
    moved = published is not None and slot.confirmed_flush is not None and slot.confirmed_flush > published
    return "moved" if moved else "stopped"


def _findings(source: SourceSettings, facts: StatusFacts, mine: Answer | None) -> list[Matter]:
    """What the owner found, and what is seen from here."""
    slot = facts.slot
    found = dict(mine.findings) if mine else {}
    found.pop("wal_limit", None)  # looked at some seconds ago; this is now
    if slot.active_pid is not None and mine is None:
        found["owner_silent"] = (
            f"no capture answers over NATS for process {slot.active_pid}, which reads the slot: it is frozen, or cut off, "
            "or another program reads it"
        )
    if passes(slot.held_wal, source.wal_limit):
        blocked = mine.blocked if mine else None
        why = why_held(slot, None if blocked is None else f"JetStream takes nothing, code {blocked}")
        found["wal_limit"] = f"the slot holds more WAL than wal_limit: {why}"
    return [Matter(code, message) for code, message in found.items()]


def _summary(
    source: SourceSettings, state: str, facts: StatusFacts, lag: int | None, seconds: float | None
) -> str:
    position = facts.position
    match state:
        case "missing":
            return f"There is no slot {source.slot}: run `bridge cdc setup`."
        case "lost":
            return f"Slot {source.slot} can no longer be read: `bridge cdc check` says why and what to do."
        case "moved":
            return (
                f"Nobody reads slot {source.slot}, and it is confirmed beyond what was published: changes between the "
                "two may be missing in EVENTS. `bridge cdc start` says what is to be decided."
            )
        case "running":
            who = f"Slot {source.slot} is being read"
        case _:
            who = f"Nobody reads slot {source.slot}: run `bridge cdc start`"
    if position is None or position.dropped:
        return f"{who}; nothing has been published yet."
    if not lag:
        return f"{who}; everything is published."
    behind = "" if seconds is None else f", {seconds:.0f} s behind"
    return f"{who}; {size_text(lag)} of WAL are not published yet{behind}."


def slot_text(name: str, slot: SlotState) -> str:
    """What PostgreSQL alone tells of a slot, where JetStream does not answer."""
    if not slot.exists:
        return f"there is no slot {name}"
    if slot.lost:
        return f"slot {name} is lost ({slot.invalidation or 'its WAL is gone'})"
    reader = f"read by process {slot.active_pid}" if slot.active_pid else "read by nobody"
    parts = [f"slot {name} is {reader}", f"confirmed up to {_lsn(slot.confirmed_flush)}"]
    if slot.held_wal is not None:
        parts.append(f"holds {size_text(slot.held_wal)} of WAL")
    if slot.safe_wal is not None:
        parts.append(f"{size_text(slot.safe_wal)} more until it is lost (max_slot_wal_keep_size)")
    return ", ".join(parts)


def size_text(count: int) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 10_000:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TB"


def number_text(value: float) -> str:
    """For people: three digits of what is small, and never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _lsn(lsn: int | None) -> str | None:
    return None if lsn is None else format_lsn(lsn)
