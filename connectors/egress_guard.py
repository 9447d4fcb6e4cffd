"""The egress policy where connections are made: after resolution, and on the very address a socket will connect to.

So neither a name that changes its mind (DNS rebinding) nor an odd spelling of an address gets past.
"""

import socket
from dataclasses import dataclass
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from connectors.egress import EgressPolicy


class GuardedResolver(AbstractResolver):
    """Asks another resolver, and refuses the whole name if one of its addresses is refused."""

    def __init__(self, policy: EgressPolicy, inner: AbstractResolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._policy.check(one["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


@dataclass(frozen=True, slots=True)
class GuardedSockets:
    """Makes the socket for one address, after checking it: literal addresses never meet the resolver."""

    policy: EgressPolicy

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        self.policy.check(address[0])
        return socket.socket(family, kind, protocol)
