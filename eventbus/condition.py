"""What a long-running process says of itself: its role, and what keeps it from its work. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """starting: not yet begun, or beginning again; standby: somebody else works, and this one takes over; owner: it works."""

    STARTING = "starting"
    STANDBY = "standby"
    OWNER = "owner"
    WORKER = "worker"
    SUPERVISOR = "supervisor"
    CONSOLE = "console"


class Matter(NamedTuple):
    """Something to look at. code: stable, for programs."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """reasons: why it is not ready; findings: what else somebody should know; parts: name → role, where it has several.

    details: more that it says of itself, JSON values by name.
    """

    role: Role
    reasons: tuple[Matter, ...] = ()
    findings: tuple[Matter, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return not self.reasons

    def to_json(self) -> dict[str, object]:
        return {
            "ready": self.ready,
            "role": self.role.value,
            "reasons": [matter._asdict() for matter in self.reasons],
            "findings": [matter._asdict() for matter in self.findings],
            **({"parts": dict(self.parts)} if self.parts else {}),
            **self.details,
        }
