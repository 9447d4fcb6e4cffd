"""An event's id: its place in the WAL, `<source>[@<epoch>]:<commit LSN>:<ordinal>`."""

from typing import NamedTuple

from eventbus.lsn import parse_lsn


class EventPlace(NamedTuple):
    """Where a captured event stands: ordered by (lsn, ordinal) within an epoch."""

    epoch: int
    lsn: int
    ordinal: int


def id_prefix(source: str, epoch: int) -> str:
    """What stands before an id's LSN; the first epoch is not written."""
    return f"{source}:" if epoch == 1 else f"{source}@{epoch}:"


def parse_event_id(event_id: str) -> EventPlace:
    """Raises ValueError for an id that capture did not make, such as a backfill's."""
    prefix, _, rest = event_id.partition(":")
    epoch = prefix.partition("@")[2] or "1"
    lsn, _, ordinal = rest.partition(":")
    return EventPlace(int(epoch), parse_lsn(lsn), int(ordinal))
