"""An error of PostgreSQL that comes back at one and the same place: no later moment mends it (rule C11). Pure."""

from cdc.position import Mark
from cdc.start_decision import Stop
from eventbus.lsn import format_lsn

PATIENCE = 5
"""So often in a row, with the pauses of beginning again between."""


class StreamFailures:
    """Of one capture, through all its tenures."""

    def __init__(self, slot: str) -> None:
        self._slot = slot
        self._last: tuple[str, tuple[int, int]] | None = None
        self._count = 0

    def again(self, error: str, published: Mark) -> Stop | None:
        """A tenure that had published up to there ended with this error. None: it may pass."""
        here = (error, published.key)
        self._count = self._count + 1 if here == self._last else 1
        self._last = here
        if self._count < PATIENCE:
            return None
        lsn = format_lsn(published.lsn)
        advance = f"SELECT pg_replication_slot_advance('{self._slot}', LSN behind it)"
        skip = f"`{advance}`, then `bridge cdc start --accept-gap`"
        return Stop(
            "stream_failed",
            f"{error}. It does so each time, at the first change behind {lsn}, up to which everything is published",
            (
                "mend what PostgreSQL complains of (its log has the whole error), and start again",
                f"or skip the change: {skip}",
            ),
        )
