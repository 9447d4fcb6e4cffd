"""What to tell where committed changes cannot be read any more: from where to where, since when, and the ways on. Pure."""

from cdc.position import Position
from cdc.status import size_text
from eventbus.lsn import format_lsn

ACCEPT_GAP = "--accept-gap"
NEW_EPOCH = "--new-epoch"
BACKFILL = (
    "`bridge cdc backfill TABLE`, after any of these: sends the rows of a table as they are then; rows that were deleted "
    "in between stay unknown"
)


def missing_changes(held: Position, until: int) -> str:
    """The range behind what `held` says is published, as a sentence; `until`: where what can be read begins again."""
    since = f", which was written at {held.written}" if held.written else ""
    size = max(0, until - held.mark.flush)
    return (
        f"Events were published up to {held.flush}{since}; changes committed from there to {format_lsn(until)} "
        f"({size_text(size)} of WAL, all tables and databases) are missing in EVENTS"
    )
