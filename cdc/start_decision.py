"""May capture go on from what is stored? Rules C3, C4, C6 and the table list of C11, without I/O.

In two steps: `decide_start` before the position is claimed, `decide_gap` after it, when nothing older can be written
any more. Whatever could skip a committed change, or give two changes one id, stops capture with a reason and the ways on;
the operator's word (`Consent`) is asked for by the one option that the reason names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc.event_id import EventPlace, parse_event_id
from cdc.missing_changes import ACCEPT_GAP, BACKFILL, NEW_EPOCH, missing_changes
from cdc.position import Identity, Mark, Position
from eventbus.lsn import format_lsn


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """The slot, while it is ours.

    created_at: its LSN when it was made, as setup recorded it; wal_end: how far the server's WAL goes;
    switches: at which LSN each earlier timeline was left (TIMELINE_HISTORY).
    """

    identity: Identity
    confirmed_flush: int
    created_at: int | None
    wal_end: int
    switches: Mapping[int, int]

    @property
    def untouched(self) -> bool:
        return self.confirmed_flush == self.created_at


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator allowed, for one start."""

    accept_gap: bool = False
    new_epoch: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Nothing of this epoch was published: start here."""

    position: Position


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after `position`; skip what stands at or before its key."""

    position: Position


@dataclass(frozen=True, slots=True)
class Stop:
    """Capture cannot go on without a decision. code: stable, for programs; ways: what the operator can do."""

    code: str
    message: str
    ways: tuple[str, ...] = ()


Decision = Begin | Resume | Stop


def decide_start(
    held: Position | None, last_event_id: str | None, slot: SlotFacts, tables_hash: str, consent: Consent
) -> Decision:
    """`held`: the stored position; `last_event_id`: of the source's last event in EVENTS, asked where held is None."""
    if held is None:
        return _without_position(last_event_id, slot, tables_hash, consent)
    if held.dropped:
        return _after_drop(held, slot, tables_hash, consent)
    stop = _other_database(held, slot) or _other_history(held, held.mark, slot)
    if stop is not None:
        return _new_epoch(held.epoch, slot, tables_hash) if consent.new_epoch else stop
    if held.tables_hash != tables_hash and held.mark.within_transaction:
        return tables_changed(held.lsn)
    return Resume(held)


def decide_gap(mark: Mark, held: Position, slot: SlotFacts, consent: Consent) -> Mark | Begin | Stop:
    """Where to go on, once `held` is claimed and a torn batch may have moved its mark on to `mark` (rules C4, C6).

    `held` keeps the timeline that was read, for the torn batch may be the first to reach beyond where it was left.
    """
    stop = _other_history(held, mark, slot)
    if stop is not None:
        return _new_epoch(held.epoch, slot, held.tables_hash) if consent.new_epoch else stop
    if slot.confirmed_flush <= mark.flush:
        return mark
    if not consent.accept_gap:
        return _gap(held, slot)
    lsn, ordinal = max(mark.key, (slot.confirmed_flush, 0))
    return Mark(lsn, ordinal, slot.confirmed_flush, mark.runs)


def _without_position(
    last_event_id: str | None, slot: SlotFacts, tables_hash: str, consent: Consent
) -> Decision:
    if slot.untouched and last_event_id is None:
        return Begin(_position_at(_start(slot), slot, tables_hash, epoch=1))
    place = _place(last_event_id)
    if consent.new_epoch:
        return _new_epoch(place.epoch, slot, tables_hash)
    if consent.accept_gap and (last_event_id is None or place.lsn > 0):
        lsn, ordinal = max((slot.confirmed_flush, 0), (place.lsn, place.ordinal))
        return Begin(_position_at(Mark(lsn, ordinal, slot.confirmed_flush), slot, tables_hash, place.epoch))
    return _lost_position(last_event_id, slot)


def _lost_position(last_event_id: str | None, slot: SlotFacts) -> Stop:
    if last_event_id is not None:
        what = f"EVENTS holds events of this source, the last one {last_event_id}, but no position"
    elif slot.created_at is None:
        what = f"slot {slot.identity.slot} was not made by `bridge cdc setup`, and EVENTS holds no position"
    else:
        what = (
            f"EVENTS holds neither position nor events of this source, yet slot {slot.identity.slot} has moved from "
            f"{format_lsn(slot.created_at)}, where it was made, to {format_lsn(slot.confirmed_flush)}: "
            "the stream was deleted, or another consumer read the slot"
        )
    return Stop(
        "position_missing",
        what,
        (
            f"{ACCEPT_GAP}: go on at {format_lsn(slot.confirmed_flush)}; what was committed before is not sent again",
            f"{NEW_EPOCH}: the same, and give all later events ids of a new epoch",
        ),
    )


def _after_drop(held: Position, slot: SlotFacts, tables_hash: str, consent: Consent) -> Decision:
    if slot.untouched or consent.new_epoch:
        return _new_epoch(held.epoch, slot, tables_hash)
    return Stop(
        "slot_reused",
        f"`bridge cdc drop` removed this source's slot, and slot {slot.identity.slot} that is there now has already "
        f"been read up to {format_lsn(slot.confirmed_flush)} by somebody else",
        (
            "`bridge cdc drop` and `bridge cdc setup`: begin with a slot of our own",
            f"{NEW_EPOCH}: begin at {format_lsn(slot.confirmed_flush)}",
        ),
    )


def _other_database(held: Position, slot: SlotFacts) -> Stop | None:
    then, now = held.identity, slot.identity
    differing = [
        f"{name} was {before}, is {after}"
        for name, before, after in (
            ("system identifier", then.system_id, now.system_id),
            ("database", then.database, now.database),
            ("slot", then.slot, now.slot),
            ("publication's oid", then.publication_oid, now.publication_oid),
        )
        if before != after
    ]
    if differing:
        message = f"this is not what was captured before: {'; '.join(differing)}"
        return _identity_stop("other_database", message, slot)
    return None


def _other_history(held: Position, mark: Mark, slot: SlotFacts) -> Stop | None:
    reach = format_lsn(mark.reach)
    if held.timeline != slot.identity.timeline:
        left = slot.switches.get(held.timeline)
        if left is None or left < mark.reach:
            since = (
                "another history"
                if left is None
                else f"timeline {held.timeline} only up to {format_lsn(left)}"
            )
            message = (
                f"the server is on timeline {slot.identity.timeline} and has {since}, but events were published up to "
                f"{reach} of timeline {held.timeline}{_since(held)}: those after the switch were never committed here, "
                "and EVENTS keeps them"
            )
            return _identity_stop("other_timeline", message, slot)
    if mark.reach > slot.wal_end:
        message = (
            f"events were published up to {reach}{_since(held)}, but the server's WAL ends at "
            f"{format_lsn(slot.wal_end)}: it lost committed changes, or was restored from an older copy; EVENTS keeps "
            "the events of what is gone"
        )
        return _identity_stop("wal_lost", message, slot)
    return None


def _identity_stop(code: str, message: str, slot: SlotFacts) -> Stop:
    way = (
        f"{NEW_EPOCH}: go on at {format_lsn(slot.confirmed_flush)} with ids of a new epoch; what was committed between "
        "the two is not captured"
    )
    return Stop(code, message, ("check `dsn`, `slot` and `publication` of the source", way, BACKFILL))


def _since(held: Position) -> str:
    return f" (written at {held.written})" if held.written else ""


def _gap(held: Position, slot: SlotFacts) -> Stop:
    return Stop(
        "gap",
        f"slot {held.slot} is confirmed up to {format_lsn(slot.confirmed_flush)}, beyond what was published: another "
        "consumer moved the slot, it was made anew, or JetStream lost what it had acknowledged. "
        f"{missing_changes(held, slot.confirmed_flush)}",
        (f"{ACCEPT_GAP}: go on at {format_lsn(slot.confirmed_flush)} without them", BACKFILL),
    )


def tables_changed(lsn: str) -> Stop:
    """The table list was changed while a transaction stands half published."""
    return Stop(
        "tables_changed",
        f"the transaction at {lsn} is published in part, and the tables of the source, or its plugin, have been changed "
        "since: the rest of it would get other ids",
        ("start once with the tables and the plugin as they were, stop, and start with the new ones",),
    )


def table_renamed(table: str, lsn: int, missing: Sequence[str]) -> Stop:
    """A table is sent that bridge.yaml does not name, while one that it names is gone: perhaps they are the same."""
    gone = ", ".join(missing)
    anew = (
        f"name {table} in bridge.yaml in place of {gone}, then `bridge cdc setup` and start: what was committed under the "
        "old name is captured too; routes on the old name need the new one as well"
    )
    return Stop(
        "table_renamed",
        f"the transaction at {format_lsn(lsn)} changes {table}, which bridge.yaml does not name, and {gone}, which it "
        "names, is not there: if the table was renamed, going on would lose its changes",
        (
            anew,
            "or rename the table back",
            f"or, if {gone} was dropped, take it out of bridge.yaml: {table} is then not captured",
        ),
    )


def _start(slot: SlotFacts) -> Mark:
    # ordinal 0: a transaction whose commit record begins at this very LSN is still to come
    return Mark(slot.confirmed_flush, 0, slot.confirmed_flush)


def _position_at(mark: Mark, slot: SlotFacts, tables_hash: str, epoch: int) -> Position:
    return Position.at(mark, slot.identity, tables_hash, epoch)


def _new_epoch(epoch: int, slot: SlotFacts, tables_hash: str) -> Begin:
    return Begin(_position_at(_start(slot), slot, tables_hash, epoch + 1))


def _place(event_id: str | None) -> EventPlace:
    """LSN 0 where the id is not capture's own: then only its epoch is known."""
    if event_id is None:
        return EventPlace(1, 0, 0)
    try:
        return parse_event_id(event_id)
    except ValueError:
        epoch = event_id.partition(":")[0].partition("@")[2]
        return EventPlace(int(epoch) if epoch.isdecimal() else 1, 0, 0)
