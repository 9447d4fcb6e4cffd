"""At which revisions a tenants folder was last applied or pulled: `.bridge/in-force.json` in the folder.

It is this checkout's own, and no part of what a repository keeps (a .gitignore beside it says so): whoever checks the
folder out anew has none. Revisions count within one bucket only, so each bucket has a memory of its own.
"""

import json
from collections.abc import Mapping
from pathlib import Path

FOLDER = ".bridge"
MOST_BUCKETS = 8


class FolderMemory:
    """A folder that cannot be written has no memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._file = self._folder / "in-force.json"

    def seen(self, bucket: str) -> dict[str, int] | None:
        """Tenant names and revisions; None where the folder was never applied to this bucket. bucket: its `made`."""
        return self._read().get(bucket)

    def remember(self, bucket: str, seen: Mapping[str, int]) -> None:
        """In place of all that was known of the bucket."""
        others = [pair for pair in self._read().items() if pair[0] != bucket]
        known = dict([*others, (bucket, dict(sorted(seen.items())))][-MOST_BUCKETS:])
        try:
            self._folder.mkdir(exist_ok=True)
            (self._folder / ".gitignore").write_text("*\n")
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(known, indent=1) + "\n")
            new.replace(self._file)
        except OSError:
            return

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
