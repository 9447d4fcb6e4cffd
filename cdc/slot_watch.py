"""Is the slot still read for us? The stream alone does not tell when whatever stands in between keeps a dead connection open.

And what it means when PostgreSQL refuses the slot.
"""

import asyncio
import contextlib
from typing import NoReturn

import structlog

from cdc.position import decode_position
from cdc.slot_loss import slot_refused
from cdc.source_errors import CaptureStopped, SlotRefused, SourceLost
from cdc.source_facts import SlotState
from cdc.tenure import Tenure
from eventbus.lsn import format_lsn

WATCH_EVERY_S = 10.0
ANSWER_WITHIN_S = 15.0
log = structlog.get_logger()


async def watch_slot(tenure: Tenure) -> NoReturn:
    """Raises SourceLost once PostgreSQL reads the slot for us no longer: why is asked when it is taken again."""
    source, ours = tenure.source, tenure.connections.replication.backend_pid
    told = False
    while True:
        state = await _state(tenure)
        if state.active_pid != ours:
            raise SourceLost(
                f"PostgreSQL ended our reading of slot {source.slot}, and the stream did not say so"
            )
        endangered = state.wal_status == "unreserved"
        if endangered and not told:
            log.warning(
                "the slot is about to be lost: it holds more WAL than max_slot_wal_keep_size, and the next checkpoint "
                "removes it; raise that setting, or let JetStream take more",
                source=source.name,
                slot=source.slot,
                confirmed=state.confirmed_flush and format_lsn(state.confirmed_flush),
                wal_end=state.wal_end and format_lsn(state.wal_end),
            )
        told = endangered
        await asyncio.sleep(WATCH_EVERY_S)


async def explained(tenure: Tenure, refused: SlotRefused) -> CaptureStopped | SourceLost:
    """What is lost with a slot that PostgreSQL refuses. Raises as the connections do."""
    stored = await tenure.writer.position.read()
    state = await _state(tenure)
    held = None
    with contextlib.suppress(ValueError):
        held = decode_position(stored.payload) if stored.seq else None
    stop = slot_refused(tenure.source.slot, state, held, str(refused))
    if stop is None:
        return SourceLost(f"PostgreSQL: {refused}; this server is a standby")
    return CaptureStopped(stop)


async def _state(tenure: Tenure) -> SlotState:
    source, catalogue, now = tenure.source, tenure.connections.catalogue, asyncio.get_running_loop().time
    overdue = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, catalogue.hang_up)
    try:
        return await catalogue.slot(source.slot, source.publication)
    except SourceLost:
        if now() < overdue.when():
            raise
        message = f"PostgreSQL gave no answer about slot {source.slot} within {ANSWER_WITHIN_S:g} s"
        raise SourceLost(message) from None
    finally:
        overdue.cancel()
