"""A slot that PostgreSQL refuses to read: what was lost with it, and the ways on (rule C11). Pure."""

from cdc.missing_changes import ACCEPT_GAP, BACKFILL, missing_changes
from cdc.position import Position
from cdc.source_facts import SlotState
from cdc.start_decision import Stop

_REASONS = {
    "wal_removed": "its WAL is gone: it held more than max_slot_wal_keep_size",
    "idle_timeout": "nobody read it for longer than idle_replication_slot_timeout",
    "rows_removed": "rows of the catalogue that it needs were removed while this server was a standby",
    "wal_level_insufficient": "wal_level was not logical for a while",
}
"""pg_replication_slots.invalidation_reason, from PostgreSQL 17 on."""
_ANEW = "`bridge cdc drop`, `bridge cdc setup`, `bridge cdc start`"


def slot_refused(slot: str, state: SlotState, held: Position | None, because: str) -> Stop | None:
    """None on a standby, which may yet be promoted. held: the stored position; because: PostgreSQL's own words."""
    if state.wal_end is None:
        return None
    published = held if held is not None and not held.dropped else None
    if not state.exists:
        return _missing(slot, published, state.wal_end)
    if not state.lost:
        return Stop(
            "slot_refused",
            f"PostgreSQL refuses to read slot {slot}: {because}",
            ("`bridge cdc check` says what is missing",),
        )
    reason = _REASONS.get(state.invalidation or "wal_removed", f"it was invalidated ({state.invalidation})")
    return _told(
        "slot_invalidated", f"slot {slot} can no longer be read: {reason}", slot, published, state.wal_end
    )


def _missing(slot: str, published: Position | None, wal_end: int) -> Stop:
    if published is None:
        return Stop("slot_missing", f"there is no slot {slot}", ("`bridge cdc setup` makes it",))
    what = (
        f"there is no slot {slot}: it was dropped, or this server was promoted and never had it (`failover` and "
        "`sync_replication_slots`, PostgreSQL 17 and later)"
    )
    return _told("slot_missing", what, slot, published, wal_end)


def _told(code: str, what: str, slot: str, published: Position | None, wal_end: int) -> Stop:
    if published is None:
        return Stop(code, f"{what}. Nothing was published yet", (_ANEW,))
    first = "" if code == "slot_missing" else f"`SELECT pg_drop_replication_slot('{slot}')`, "
    return Stop(
        code,
        f"{what}. {missing_changes(published, wal_end)}, and so is what is committed before there is a slot again",
        (
            f"{first}`bridge cdc setup`, then `bridge cdc start {ACCEPT_GAP}`: go on without them at a new slot",
            f"{_ANEW}: the same with ids of a new epoch",
            BACKFILL,
        ),
    )
