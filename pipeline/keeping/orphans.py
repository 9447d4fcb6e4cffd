"""Which big events' objects may be orphans (rule C9). Pure.

An object is stored before the message that refers to it, so that one to which nothing refers may still be about to be
used. What its name says, which is an event's id, tells whether it can be: capture never publishes again what its
position says is published, nor a row of a backfill that has ended; a webhook's object is for one attempt of seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from eventbus.lsn import parse_lsn

WEBHOOK_S = 86_400.0


class _Run(msgspec.Struct):
    run: str


class CapturePosition(msgspec.Struct):
    """What of `position.<source>` matters here: the place of the last event published, and the open backfills."""

    lsn: str
    ordinal: int
    epoch: int = 1
    backfills: tuple[_Run, ...] = ()

    @property
    def place(self) -> tuple[int, int, int]:
        return self.epoch, parse_lsn(self.lsn), self.ordinal


@dataclass(frozen=True, slots=True)
class Listed:
    """An object: its name, and for how many seconds it has been there."""

    name: str
    age_s: float


def is_over(found: Listed, positions: Mapping[str, CapturePosition]) -> bool:
    """Whether nobody will refer to it who does not yet. positions: of each source that has one."""
    origin, _, rest = found.name.partition(":")
    source, _, epoch = origin.partition("@")
    if rest.startswith("w"):
        return found.age_s >= WEBHOOK_S
    position = positions.get(source)
    if position is None:
        return False
    if rest.startswith("b"):
        run = rest[1:].partition(":")[0]
        return all(each.run != run for each in position.backfills)
    lsn, _, ordinal = rest.partition(":")
    try:
        return (int(epoch or "1"), parse_lsn(lsn), int(ordinal)) <= position.place
    except ValueError:
        return False  # not of our making


def orphans(over: Iterable[Listed], referred: Iterable[str]) -> list[str]:
    """Names of what nothing refers to. over: as `is_over` finds them; referred: collected after that."""
    needed = frozenset(referred)
    return [found.name for found in over if found.name not in needed]
