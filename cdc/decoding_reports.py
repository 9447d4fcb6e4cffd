"""What the decoder met and a person should know of: told in the log and counted, without values."""

import structlog

from cdc.decoder import Decoder
from cdc.metrics import OUTBOX_INVALID, SCHEMA_CHANGES
from cdc.wal2json_decoder import Wal2jsonDecoder
from eventbus.lsn import format_lsn

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
