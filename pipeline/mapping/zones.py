"""Time zones, by their IANA names. Pure once a zone is there: a process that may open no file is given its bytes."""

from io import BytesIO
from zoneinfo import ZoneInfo

_given: dict[str, ZoneInfo] = {}


def zone(name: str) -> ZoneInfo:
    """Raises LookupError where there is none, or its file cannot be opened here."""
    return _given.get(name) or ZoneInfo(name)


def give(name: str, content: bytes) -> None:
    """The zone's bytes, as a file of the time zone database holds them (RFC 8536)."""
    _given[name] = ZoneInfo.from_file(BytesIO(content), name)
