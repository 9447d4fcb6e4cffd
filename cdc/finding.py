"""A finding of `bridge cdc check`: what is wrong, and the SQL that mends it."""

import re
from dataclasses import dataclass
from enum import StrEnum

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


class Level(StrEnum):
    """error: capture does not work, or makes events that nobody can use; warning: a risk."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """code: stable, for programs; object: what it is about; sql: comments in it tell its lock and its WAL cost.

    stops: `bridge cdc start` does not begin with it.
    """

    level: Level
    code: str
    object: str
    message: str
    sql: str = ""
    stops: bool = False

    def to_json(self) -> dict[str, str]:
        return {
            "level": self.level.value,
            "code": self.code,
            "object": self.object,
            "message": self.message,
            "sql": self.sql,
        }


def identifier(name: str) -> str:
    """A name as SQL writes it, quoted where it must be (reserved words are quoted too rarely to matter here)."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def columns_list(names: list[str]) -> str:
    return ", ".join(identifier(name) for name in names)
