"""What the children of `bridge up` say of themselves: their /readyz, asked every two seconds."""

import asyncio
from collections.abc import Mapping
from typing import NoReturn

import httpx

from bridge.listen import LOOPBACK, Listen
from eventbus.condition import Matter

EVERY_S = 2.0
ASK_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - where a child listens, not we


class ChildrenWatch:
    """`places`: where each child serves, by its name."""

    def __init__(self, places: Mapping[str, Listen]) -> None:
        self._urls = {name: f"http://{_near(place)}/readyz" for name, place in places.items()}
        self._reasons: dict[str, tuple[Matter, ...]] = {}

    def reasons(self, name: str) -> tuple[Matter, ...]:
        """Why a child was not ready when it was asked last."""
        return self._reasons.get(name, ())

    async def run(self) -> NoReturn:
        async with httpx.AsyncClient(timeout=ASK_TIMEOUT_S, trust_env=False) as client:
            while True:
                await asyncio.gather(*(self._ask(client, name) for name in self._urls))
                await asyncio.sleep(EVERY_S)

    async def _ask(self, client: httpx.AsyncClient, name: str) -> None:
        try:
            found = (await client.get(self._urls[name])).json()["reasons"]
        except (httpx.HTTPError, ValueError, KeyError):
            found = [{"code": "child_silent", "message": "its /readyz does not answer"}]
        self._reasons[name] = tuple(
            Matter(reason["code"], f"{name}: {reason['message']}") for reason in found
        )


def _near(place: Listen) -> Listen:
    return Listen(_EVERYWHERE.get(place.host, place.host), place.port)
