"""How commands show a pause."""

from datetime import UTC, datetime
from typing import Any

from pipeline.tenants.pauses import Pause, Paused


def pause_text(what: Paused, pause: Pause) -> str:
    """`route orders is paused since 2026-11-26T00:40:00Z by ana@vm: their server moves`."""
    why = f": {pause.why}" if pause.why else ""
    return f"{what} is paused since {_time(pause)} by {pause.by}{why}"


def pause_json(what: Paused, pause: Pause) -> dict[str, Any]:
    """route and connection are both null where it is the whole tenant's."""
    return {
        "route": what.route,
        "connection": what.connection,
        "since": _time(pause),
        "by": pause.by,
        "why": pause.why,
    }


def _time(pause: Pause) -> str:
    return datetime.fromtimestamp(int(pause.since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
