"""How much WAL the slot makes PostgreSQL keep, against the operator's `wal_limit`. Pure; sizes in bytes, times in seconds."""

from cdc.source_facts import SlotState

TELL_EVERY_S = 60.0


class HeldWal:
    """What was seen of it, and when it was told last."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.held = 0
        self._told_at = float("-inf")

    def seen(self, slot: SlotState) -> None:
        self.held = slot.held_wal or 0

    @property
    def passed(self) -> bool:
        return passes(self.held, self.limit)

    def tell(self, now: float) -> bool:
        """Whether to warn now: when it is passed, and each minute that it lasts."""
        if not self.passed:
            self._told_at = float("-inf")
        if not self.passed or now - self._told_at < TELL_EVERY_S:
            return False
        self._told_at = now
        return True


def passes(held: int | None, limit: int | None) -> bool:
    return held is not None and limit is not None and held > limit


def why_held(slot: SlotState, hindrance: str | None) -> str:
    """Where to look: what keeps the slot from letting go. hindrance: what keeps capture from its work, if it knows."""
    if hindrance is not None:
        return hindrance
    unconfirmed = slot.unconfirmed or 0
    if slot.held_wal is not None and unconfirmed < slot.held_wal / 2:
        return (
            "most of it is confirmed, and kept for a transaction that began before it: look for the oldest xact_start in "
            "pg_stat_activity, and in pg_prepared_xacts"
        )
    return "it is not yet confirmed: look at lag_bytes in `bridge cdc status`, and at nats.sync_interval"
