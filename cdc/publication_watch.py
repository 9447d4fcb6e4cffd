"""Is the publication still the one that capture began with? While it is away PostgreSQL 18 skips rows silently (rule C4)."""

import asyncio
from typing import NoReturn

from cdc.source_errors import CaptureStopped
from cdc.start_decision import Stop
from cdc.tenure import Tenure
from eventbus.lsn import format_lsn

WATCH_EVERY_S = 10.0


async def watch_publication(tenure: Tenure) -> NoReturn:
    """Raises CaptureStopped once it was dropped or made anew, and SourceLost."""
    source, began_with = tenure.source, tenure.position.publication_oid
    seen_at = tenure.mark.flush
    while True:
        state = await tenure.connections.catalogue.slot(source.slot, source.publication)
        if state.publication_oid != began_with:
            raise CaptureStopped(_gone(source.publication, seen_at))
        seen_at = state.wal_end or seen_at
        await asyncio.sleep(WATCH_EVERY_S)


def _gone(publication: str, seen_at: int) -> Stop:
    return Stop(
        "publication_gone",
        f"publication {publication} was dropped or made anew while capture ran; it was last seen at "
        f"{format_lsn(seen_at)}, and PostgreSQL may have skipped changes committed since",
        (
            "`bridge cdc setup` makes it again",
            "then `bridge cdc start --new-epoch`, knowing that these changes may be missing",
        ),
    )
