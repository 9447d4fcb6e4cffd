"""Rows as `read` events, in groups that a batch can hold. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from cdc.backfill.changes import ReadRow
from cdc.backfill.label import Label
from cdc.event_assembly import Origin, TableEvents
from cdc.event_id import read_id
from cdc.position import RunMark
from cdc.transaction_groups import GROUP_BYTES, GROUP_EVENTS
from eventbus.event import HEADER_BACKFILL, HEADER_BACKFILL_ROUTE, HEADER_EVENT_ID
from eventbus.group_commit import Outgoing
from eventbus.lsn import format_lsn

_UNIX = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, and printed without an offset


@dataclass(frozen=True, slots=True)
class Watermark:
    """Where rows are published: behind everything before `lsn`. read_at: microseconds since 1970."""

    lsn: int
    read_at: int

    @property
    def source(self) -> str:
        """The event's JSON from the LSN on to the name of `key`."""
        lsn = format_lsn(self.lsn)
        at = (_UNIX + timedelta(microseconds=self.read_at)).isoformat(timespec="microseconds")
        return f'{lsn}","commit_lsn":"{lsn}","ordinal":0,"xid":null,"commit_ts":"{at}Z"}},"key":'


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """The events of one run. route: `<tenant>/<route>`, the only one they are for."""

    origin: Origin
    events: TableEvents
    route: str | None

    def groups(
        self, rows: Sequence[ReadRow], watermark: Watermark, before: RunMark, after: RunMark
    ) -> Iterator[tuple[list[Outgoing], RunMark]]:
        """Messages, and the run's mark behind them; `after`, but for its `n`, behind the last ones.

        before: the run's mark; rows that follow its cursor move it on, one by one.
        """
        messages: list[Outgoing] = []
        size, mark = 0, before
        moves = after.cursor != before.cursor
        for row in rows:
            mark = msgspec.structs.replace(
                mark, n=mark.n + 1, cursor=row.cursor if moves else mark.cursor, finished=False
            )
            message = self._message(row, watermark, mark)
            messages.append(message)
            size += len(message.payload) + len(message.headers) + len(message.subject)
            if size >= GROUP_BYTES or len(messages) >= GROUP_EVENTS:
                yield messages, mark
                messages, size = [], 0
        yield messages, msgspec.structs.replace(after, n=mark.n)

    def _message(self, row: ReadRow, watermark: Watermark, mark: RunMark) -> Outgoing:
        target, before = self.events.read(row.tenant)
        event_id = read_id(self.origin.source, self.origin.epoch, mark.run, mark.n)
        label = Label(mark.run, self.origin.epoch, watermark.lsn, mark.n, mark.cursor)
        headers = f"{HEADER_EVENT_ID}: {event_id}\r\n{HEADER_BACKFILL}: {label.text()}\r\n"
        if self.route is not None:
            headers += f"{HEADER_BACKFILL_ROUTE}: {self.route}\r\n"
        payload = f'{{"v":1,"id":"{event_id}{target.head}{watermark.source}{row.key}{before}{row.after}}}'
        return Outgoing(target.subject, headers.encode(), payload.encode(), label.key)
