"""What a rendering comes to; what each asks of the caller stands in `pipeline.mapping.known`."""

from typing import Any, Literal

import msgspec

from pipeline.mapping.known import Read

Repeat = Literal["upsert", "idempotency_key", "unsafe", "find"]
"""How a request may be sent again when nobody knows whether it arrived."""


class Rendered(msgspec.Struct, frozen=True, tag=True):
    """A request as the mapping's connector takes it; numbers are int or Decimal.

    step: its name, "" for a mapping's only `request`. kind: "find" looks up whether the request has arrived already.
    delivery_id: its Idempotency-Key, with the step's name where there are steps. reads: it changes nothing.
    last: once it is delivered, nothing is left to do.
    """

    request: dict[str, Any]
    step: str = ""
    kind: Literal["request", "find"] = "request"
    delivery_id: str = ""
    reads: bool = False
    repeat: Repeat = "unsafe"
    last: bool = True

    @property
    def safe(self) -> bool:
        """Sending it twice does no harm. With `repeat: find` only if `Known.unsure` names it the second time."""
        return self.reads or self.kind == "find" or self.repeat != "unsafe"


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """The event is not for this route: nothing is sent, nothing is wrong. `steps`: every step's `when` was false."""

    by: Literal["source", "when", "skip_if", "steps"]


class Needs(msgspec.Struct, frozen=True, tag=True):
    """What has to be read before it can go on; they do not depend on one another."""

    reads: tuple[Read, ...]


class Waits(msgspec.Struct, frozen=True, tag=True):
    """`wait_for` found nothing yet. message: names what, where in the mapping, and what to do."""

    message: str
    file: str
    line: int
    expression: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """Every step is answered or skipped, or `found` holds: delivered.

    save: what `saved` will find, by name, under `Mapping.saved_key(event)`. problems: what could not be saved, which
    undoes nothing. found: the ERP had it already.
    """

    save: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    found: bool = False


Result = Rendered | Skipped | Needs | Waits | Done
