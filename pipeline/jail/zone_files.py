"""A time zone's file, from this machine's database or else from the package tzdata: for those who may open none."""

import zoneinfo
from functools import lru_cache
from importlib.resources import files
from pathlib import Path


@lru_cache(maxsize=64)
def zone_file(name: str) -> bytes:
    """Raises LookupError where there is no such zone."""
    zoneinfo.ZoneInfo(name)  # refuses what is no zone's name before it is taken for a path
    for folder in zoneinfo.TZPATH:
        if (path := Path(folder, name)).is_file():
            return path.read_bytes()
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def is_zone(name: str) -> bool:
    try:
        zone_file(name)
    except (LookupError, ValueError, OSError):
        return False
    return True
