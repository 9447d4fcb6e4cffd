"""The text of an event: what is the same for a transaction and for a table, and the joining of both with a row.

wire_events.pyx does the same where it is compiled.
"""

from dataclasses import dataclass

from cdc.foreign_bytes import AS_OCTAL
from eventbus.event import HEADER_EVENT_ID
from eventbus.group_commit import Outgoing

_LSN = "%X/%X"
"""As `format_lsn` does, in a third of the time that an f-string takes."""


class Transaction:
    """One transaction being read: its LSN, the constant parts of its events, and its last change's ordinal."""

    __slots__ = ("commit_lsn", "id_prefix", "lsn", "ordinal", "xid_and_time")

    def __init__(self, id_prefix: str, lsn: int, xid: int | None, second: str, microsecond: int) -> None:
        """id_prefix: of the source and its epoch; second: of the commit, ISO 8601 in UTC."""
        place = _LSN % (lsn >> 32, lsn & 0xFFFFFFFF)
        self.lsn = lsn
        self.ordinal = 0
        self.id_prefix = f"{id_prefix}{place}:"
        self.commit_lsn = f'","commit_lsn":"{place}","ordinal":'
        self.xid_and_time = (
            f',"xid":{"null" if xid is None else xid},"commit_ts":"{second}.{microsecond:06d}Z"}},"key":'
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What is the same for all events of a table, tenant and op: the subject, and the JSON from id to LSN."""

    subject: bytes
    head: str


def event_of(within: Transaction, lsn: int, target: Target, key: str, before: str, after: str) -> Outgoing:
    """All JSON; `before`: the members from there to `after`'s name, each after a comma."""
    within.ordinal = ordinal = within.ordinal + 1
    event_id = f"{within.id_prefix}{ordinal}"
    # one f-string: each piece joined beforehand would be copied twice
    payload = (
        f'{{"v":1,"id":"{event_id}{target.head}{_LSN % (lsn >> 32, lsn & 0xFFFFFFFF)}{within.commit_lsn}{ordinal}'
        f"{within.xid_and_time}{key}{before}{after}}}"
    )
    headers = f"{HEADER_EVENT_ID}: {event_id}\r\n"
    return Outgoing(
        target.subject, headers.encode(), payload.encode("utf-8", AS_OCTAL), (within.lsn, ordinal)
    )
