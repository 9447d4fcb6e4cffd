"""The WAL that the slot holds, against `wal_limit`: while we own it, and while we cannot, for that is when it grows."""

import asyncio

import structlog

from cdc.capture_state import CaptureState
from cdc.catalogue import Catalogue
from cdc.held_wal import HeldWal, why_held
from cdc.metrics import CaptureMetrics
from cdc.settings import SourceSettings
from cdc.source_errors import SourceLost
from cdc.source_facts import SlotState

LOOK_EVERY_S = 10.0
_AWAY_S = 15.0
log = structlog.get_logger()


class WalWatch:
    """Of one capture, through all its tenures."""

    def __init__(self, source: SourceSettings, state: CaptureState, metrics: CaptureMetrics) -> None:
        self._source = source
        self._state = state
        self._metrics = metrics
        self._wal = HeldWal(source.wal_limit)
        self._look_at = float("-inf")

    def due(self) -> bool:
        """Whether it is time for a look; then the next one is due some seconds later."""
        if _now() < self._look_at:
            return False
        self._look_at = _now() + LOOK_EVERY_S
        return True

    def seen(self, slot: SlotState) -> None:
        """Tells what follows from a look: to the log, to metrics, to /readyz and `bridge cdc status`."""
        self._wal.seen(slot)
        self._metrics.held.set(self._wal.held)
        self._metrics.limit_passed.set(self._wal.passed)
        if not self._wal.passed:
            self._state.findings.pop("wal_limit", None)
            self._wal.tell(_now())
            return
        source, why = self._source, why_held(slot, self._state.hindrance())
        self._state.findings["wal_limit"] = (
            f"slot {source.slot} holds {self._wal.held} bytes of WAL, more than wal_limit, {self._wal.limit}: {why}"
        )
        if self._wal.tell(_now()):
            log.warning(
                "the slot holds more WAL than wal_limit",
                source=source.name,
                slot=source.slot,
                held_bytes=self._wal.held,
                wal_limit_bytes=self._wal.limit,
                look=why,
            )

    async def look_from_outside(self) -> None:
        """Where no tenure looks, on a connection of its own; a server that is away tells nothing."""
        if not self.due():
            return
        try:
            async with asyncio.timeout(_AWAY_S):
                catalogue = await Catalogue.open(self._source.dsn)
                try:
                    self.seen(await catalogue.slot(self._source.slot, self._source.publication))
                finally:
                    await catalogue.close()
        except (SourceLost, TimeoutError):
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
