"""What the decoder met and a person should know of: told in the log and counted, without values."""

from collections import Counter

import structlog

from cdc.decoder import Decoder
from cdc.metrics import OUTBOX_INVALID, SCHEMA_CHANGES, UNKNOWN_TENANTS
from cdc.wal2json_decoder import Wal2jsonDecoder
from eventbus.lsn import format_lsn

_TELL_EVERY = 60.0
log = structlog.get_logger()


def tell_decoding(source: str, decoder: Decoder | Wal2jsonDecoder) -> None:
    """Whatever came since the last time. Changed tables one by one, invalid messages of a burst together."""
    for change in decoder.schema_changes:
        SCHEMA_CHANGES.labels(source, change.table).inc()
        log.info(
            "the events of a table change their shape",
            source=source,
            table=change.table,
            lsn=format_lsn(change.lsn),
            what=change.what,
        )
    decoder.schema_changes.clear()
    invalid = decoder.invalid_messages
    if invalid:
        OUTBOX_INVALID.labels(source).inc(len(invalid))
        log.warning(
            "outbox messages that cannot be understood: published with topic `invalid`",
            source=source,
            messages=len(invalid),
            last_event_id=invalid[-1].event_id,
            why=invalid[-1].why,
        )
        invalid.clear()


class RecurringReports:
    """Of what may come with every row: counted at once, told every minute."""

    def __init__(self, source: str, decoder: Decoder | Wal2jsonDecoder) -> None:
        self._source = source
        self._decoder = decoder
        self._unknown_tenants: Counter[str] = Counter()
        self._tell_tenants_at = self._tell_values_at = 0.0

    def tell(self, now: float) -> None:
        """`now`: seconds of a clock that only goes on."""
        self._count_unknown_tenants()
        if self._unknown_tenants and now >= self._tell_tenants_at:
            log.warning(
                "events without a tenant: only routes for any tenant take them; `bridge cdc check` may say why",
                source=self._source,
                events=dict(self._unknown_tenants),
            )
            self._unknown_tenants.clear()
            self._tell_tenants_at = now + _TELL_EVERY
        lost = self._decoder.lost_values if isinstance(self._decoder, Wal2jsonDecoder) else None
        if lost and now >= self._tell_values_at:
            log.warning(
                "null in columns that are NOT NULL: wal2json before 2.6 sends NaN and Infinity so; pgoutput does not",
                source=self._source,
                values=dict(lost),
            )
            lost.clear()
            self._tell_values_at = now + _TELL_EVERY

    def _count_unknown_tenants(self) -> None:
        found = self._decoder.unknown_tenants
        for table, events in found.items():
            UNKNOWN_TENANTS.labels(self._source, table).inc(events)
        self._unknown_tenants.update(found)
        found.clear()
