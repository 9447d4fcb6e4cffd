"""How commands show a pause."""

from typing import Any

from bridge.cli.version_words import time_text
from pipeline.tenants.pauses import Pause, Paused


def pause_text(what: Paused, pause: Pause) -> str:
    """`route orders is paused since 2026-11-26T00:40:00Z by ana@vm: their server moves`."""
    why = f": {pause.why}" if pause.why else ""
    return f"{what} is paused since {time_text(pause.since)} by {pause.by}{why}"


def pause_json(what: Paused, pause: Pause) -> dict[str, Any]:
    """route and connection are both null where it is the whole tenant's."""
    return {
        "route": what.route,
        "connection": what.connection,
        "since": time_text(pause.since),
        "by": pause.by,
        "why": pause.why,
    }
