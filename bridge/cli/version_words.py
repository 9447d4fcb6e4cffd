"""How commands show who put a version into force, when and why."""

from datetime import UTC, datetime
from typing import Any

from pipeline.tenants.version import Version, Written

_DID = {"apply": "applied", "rollback": "rolled back", "remove": "removed"}


def time_text(seconds: float) -> str:
    """`2026-11-26T00:40:00Z`, of seconds since the epoch."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def written_text(version: Version) -> str:
    """`applied 2026-11-26T00:40:00Z by ana@vm`."""
    written = version.written
    to = f" to revision {written.of}" if written.of else ""
    by = f" by {written.by}" if written.by else ""
    return f"{_DID[written.how]}{to} {time_text(version.time)}{by}"


def written_json(written: Written) -> dict[str, Any]:
    """how: apply, rollback or remove; of: the revision that a rollback brought back, else null."""
    return {"by": written.by, "why": written.why, "how": written.how, "of": written.of or None}
