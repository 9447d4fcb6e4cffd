"""A source of webhooks, as bridge.yaml describes it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

MIB = 2**20
DAY = 86_400.0


class Complaint(Protocol):
    """Where a payload does not fulfil a schema (a JSON pointer, "" for all of it), and by which of its keywords."""

    @property
    def path(self) -> str: ...
    @property
    def keyword(self) -> str: ...


class Schema(Protocol):
    """What payloads must fulfil; `pipeline.payload_schema.PayloadSchema`, which takes a tenth of a second to import."""

    def complaint(self, payload: Any) -> Complaint | None: ...


@dataclass(frozen=True, slots=True)
class IntakeSource:
    """One entry of `intake`.

    secrets: any of them signs; empty: each tenant has its own, in the bucket SECRETS as `secret_name`.
    tolerance, remember: seconds. key: names from the payload down to what orders its events; empty: nothing does.
    """

    name: str
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    schema: Schema | None = None
    max_bytes: int = MIB
    tolerance: float = 300.0
    remember: float = 7 * DAY
    key: tuple[str, ...] = ()

    @property
    def secret_name(self) -> str:
        return secret_name(self.name)


def secret_name(source: str) -> str:
    """The name of a tenant's own secret, as `bridge secret set TENANT …` takes it."""
    return f"intake_{source}"
