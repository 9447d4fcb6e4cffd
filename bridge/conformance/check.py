"""A check, and what it works with: one simulated ERP, and connections of the kind to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, NoReturn, TypeVar

from bridge.conformance.kind import KEY, Kind, Simulator
from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Outcome

DEADLINE_S = 60.0
"""For a whole check: one that takes longer hangs."""
TIMEOUT_S = 10.0
TEXT = "Argolla de 5/8\\ con lado \"plano\" { <PPC> & 'x' } Ñandú"
"""What must arrive as it is, whatever the kind writes it into."""
LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))

O = TypeVar("O")  # noqa: E741 — an outcome


class NotConforming(AssertionError):
    """What the kind should have done, and did not."""


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 — as `assert`, which -O would take out
    """Raises NotConforming."""
    if not holds:
        raise NotConforming(otherwise)


def expected(kind: type[O], outcome: object, when: str) -> O:
    """The outcome, as the kind it should be. Raises NotConforming."""
    if not isinstance(outcome, kind):
        raise NotConforming(f"{when} is {kind.__name__}, not {outcome!r}")
    return outcome


def allow() -> None:
    """A permit that says yes."""


@dataclass(slots=True)
class Trial:
    """One check of one kind."""

    kind: Kind
    erp: Simulator
    _open: list[Connector] = field(default_factory=list)

    def settings(self, **members: Any) -> ConnectionSettings:
        given: Mapping[str, Any] = {
            "base_url": f"{self.erp.base_url}{self.kind.base}",
            "auth": self.kind.auth,
            "options": self.kind.options,
            "files": self.kind.files,
            "timeout_s": TIMEOUT_S,
            "egress": LOOPBACK,
            **members,
        }
        return ConnectionSettings(**given)

    def connector(self, **members: Any) -> Connector:
        """A connection with other settings than the usual ones; closed with the check."""
        opened = registry.open_connector(self.kind.name, self.settings(**members))
        self._open.append(opened)
        return opened

    async def send(
        self,
        connector: Connector,
        text: str = TEXT,
        key: str = KEY,
        permit: Callable[[], None] = allow,
    ) -> Outcome:
        """Raises what the kind raises, and what it should not."""
        return await connector.send(connector.prepare(self.kind.request(text), key), permit)

    async def once(self, **members: Any) -> Outcome:
        """By a connection of its own."""
        return await self.send(self.connector(**members))

    @property
    def requests(self) -> int:
        """Of events, as the ERP had them."""
        return sum(map(self.kind.counts, self.erp.calls))

    async def until_requests(self, count: int) -> None:
        await self.erp.until(lambda: self.requests >= count)

    async def aclose(self) -> None:
        for connector in self._open:
            await connector.aclose()


@asynccontextmanager
async def trial_of(kind: Kind) -> AsyncIterator[Trial]:
    async with kind.simulator() as erp:
        trial = Trial(kind, erp)
        try:
            yield trial
        finally:
            await trial.aclose()


@dataclass(frozen=True, slots=True)
class Check:
    """Awaited with a kind; raises NotConforming. meaning: for people."""

    name: str
    meaning: str
    run: Callable[[Trial], Awaitable[None]] = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def skipped_by(self, kind: Kind) -> str:
        """Why the check does not apply to it; "": it does."""
        return kind.skips.get(self.name, "")

    async def __call__(self, kind: Kind) -> None:
        if self.skipped_by(kind):
            return
        try:
            async with asyncio.timeout(DEADLINE_S), trial_of(kind) as trial:
                await self.run(trial)
        except TimeoutError as error:
            self._say(f"something that should have come did not come in time: {error!r}")

    def _say(self, what: str) -> NoReturn:
        raise NotConforming(f"{self.name}: {what}")


def check(run: Callable[[Trial], Awaitable[None]]) -> Check:
    """Of the function that makes it."""
    return Check(run.__name__, (run.__doc__ or "").strip(), run)
