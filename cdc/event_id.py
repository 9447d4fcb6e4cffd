"""An event's id: its place in the WAL, `<source>[@<epoch>]:<commit LSN>:<ordinal>`.

A read has an id of its own, `<source>[@<epoch>]:b<run>:<n>`; its place stands in its label.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cdc.backfill.label import parse_label
from eventbus.event import HEADER_BACKFILL, HEADER_EVENT_ID
from eventbus.lsn import format_lsn, parse_lsn


class EventPlace(NamedTuple):
    """Where a captured event stands: ordered by (lsn, ordinal) within an epoch."""

    epoch: int
    lsn: int
    ordinal: int


def id_prefix(source: str, epoch: int) -> str:
    """What stands before an id's LSN; the first epoch is not written."""
    return f"{source}:" if epoch == 1 else f"{source}@{epoch}:"


def read_id(source: str, epoch: int, run: str, n: int) -> str:
    """The id of a backfill's `n`th row."""
    return f"{id_prefix(source, epoch)}b{run}:{n}"


def place_id(headers: Mapping[str, str]) -> str:
    """The id of a stored event; a read's as that of a message at its watermark. Raises ValueError."""
    event_id, text = headers.get(HEADER_EVENT_ID, ""), headers.get(HEADER_BACKFILL)
    if text is None:
        return event_id
    return f"{event_id.partition(':')[0]}:{format_lsn(parse_label(text).lsn)}:0"


def order_key(headers: Mapping[str, str], epoch: int) -> tuple[int, ...]:
    """A stored event's place among all of this epoch; (0, 0), which is behind all, where it is of another one.

    Raises ValueError for what capture did not make.
    """
    place = parse_event_id(place_id(headers))
    if place.epoch != epoch:
        return 0, 0
    text = headers.get(HEADER_BACKFILL)
    return (place.lsn, place.ordinal) if text is None else parse_label(text).key


def parse_event_id(event_id: str) -> EventPlace:
    """Raises ValueError for an id that capture did not make, such as a backfill's."""
    prefix, _, rest = event_id.partition(":")
    epoch = prefix.partition("@")[2] or "1"
    lsn, _, ordinal = rest.partition(":")
    return EventPlace(int(epoch), parse_lsn(lsn), int(ordinal))
