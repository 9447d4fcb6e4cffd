"""One kind's row: its simulated ERP, and how that ERP says each thing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.demo.erp_server import Call, Effect, Reply, Step

PASSWORD = "correct-horse-battery"  # noqa: S105 — of simulated ERPs
"""What the simulated ERP wants as its bearer token, unless the row's `auth` says otherwise."""
KEY = "fracttal:0/16B3748:3/acme/work-orders"
"""The delivery's id."""


class Simulator(Protocol):
    """What a check does with a simulated ERP: a `bridge.demo.erp_server.ErpServer`, or whatever else has these."""

    calls: list[Call]
    effects: list[Effect]

    @property
    def base_url(self) -> str: ...

    async def up(self) -> None: ...

    async def down(self) -> None: ...

    def script(self, steps: Iterable[Step]) -> None: ...

    def accept(self, authorization: str) -> None: ...

    async def until(self, holds: Callable[[], bool], timeout_s: float = 10.0) -> None: ...


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of the ERP's. code, words: its own error code, and how its message ends, as people are to read it.

    after: the seconds that it says to wait.
    """

    reply: Reply
    code: str = ""
    words: str = ""
    after: float | None = None


def _every(_call: Call) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """request: creates one document with this text in it. rejected, throttled, unavailable: how the ERP says so.

    read_back: the text that a document was created with; None: the simulated ERP does not tell it.
    auth, options, files: of the connection. base: its path. counts: whether a call is a request of an event's (and no login).
    echoes: answers with a text in them, besides those that HTTP knows. large: what a success becomes that is too large
    to be read: `Uncertain` where its end may say no. skips: the names of checks that do not apply, and why.
    """

    name: str
    simulator: Callable[[], AbstractAsyncContextManager[Simulator]]
    request: Callable[[str], Mapping[str, Any]]
    rejected: Said
    throttled: Said
    unavailable: Said
    read_back: Callable[[Effect], Any] | None = None
    auth: Mapping[str, Any] = field(default_factory=lambda: {"type": "bearer", "token": PASSWORD})
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    counts: Callable[[Call], bool] = _every
    echoes: Callable[[str], Sequence[Reply]] = lambda _text: ()
    large: str = "Delivered"
    skips: Mapping[str, str] = field(default_factory=dict)
