"""The folders that travel with the code: `templates` (mappings) and `migrations` (SQL)."""

from pathlib import Path
from typing import Literal

ROOM = Path(__file__).parent


def shipped(name: Literal["migrations", "templates"]) -> Path:
    """The folder: inside the installed package, or beside it in a checkout."""
    packaged = ROOM / "shipped" / name
    return packaged if packaged.is_dir() else ROOM.parent / name
