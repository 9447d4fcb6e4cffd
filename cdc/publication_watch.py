"""Does the publication that capture began with still send its tables? What it does not, is skipped silently (rule C4).

PostgreSQL 18 skips all rows while the publication itself is away.
"""

import asyncio
from typing import NoReturn

import structlog

from cdc.source_errors import CaptureStopped
from cdc.start_decision import Stop
from cdc.tenure import Tenure
from eventbus.lsn import format_lsn

WATCH_EVERY_S = 10.0
log = structlog.get_logger()


async def watch_publication(tenure: Tenure) -> NoReturn:
    """Raises CaptureStopped once it was dropped or made anew, and SourceLost.

    A table that is taken out of it, or swapped with another, is only told: setup may have run for the next start.
    """
    source, began_with = tenure.source, tenure.position.publication_oid
    wanted = [*source.tables, *filter(None, [source.outbox])]
    catalogue, seen_at, told = tenure.connections.catalogue, tenure.mark.flush, set[str]()
    while True:
        state = await catalogue.slot(source.slot, source.publication)
        if state.publication_oid != began_with:
            raise CaptureStopped(_gone(source.publication, source.slot, seen_at))
        unsent = await catalogue.unsent(source.publication, wanted)
        for table in unsent - told:
            log.warning(
                "the publication does not send this table: its changes are gone for capture; `bridge cdc check`",
                source=source.name,
                table=table,
                since=format_lsn(seen_at),
            )
        told = unsent
        seen_at = state.wal_end or seen_at
        await asyncio.sleep(WATCH_EVERY_S)


def _gone(publication: str, slot: str, seen_at: int) -> Stop:
    return Stop(
        "publication_gone",
        f"publication {publication} was dropped or made anew while capture ran; it was last seen at "
        f"{format_lsn(seen_at)}, and PostgreSQL may have skipped changes committed since",
        (
            # setup takes no slot that is older than its publication
            f"`SELECT pg_drop_replication_slot('{slot}')`, then `bridge cdc setup` makes both again",
            "then `bridge cdc start --new-epoch`, knowing that these changes may be missing",
        ),
    )
