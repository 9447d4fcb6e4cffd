"""Which lines an arriving delivery stands in: its key's, and those of its mapping's `ordering`, asked in the jail."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from eventbus.event import EventInvalid
from eventbus.message import Message
from eventbus.objects import ObjectDamaged, ObjectMissing
from pipeline.delivery.retry_records import PAUSE_S
from pipeline.jail.pool import RendererBroken
from pipeline.lanes.ordering import Line, lines_of, ordering_line
from pipeline.mapping import RenderInput
from pipeline.tenants.in_force import NotReady, RouteInForce, TenantsInForce

log = structlog.get_logger()

EventOf = Callable[[Message], Awaitable[dict[str, Any]]]
GivenOf = Callable[[dict[str, Any], RouteInForce], RenderInput]


class OrderingKeys:
    """check: raises where the lane is no longer ours."""

    def __init__(self, tenants: TenantsInForce, event_of: EventOf, check: Callable[[], None]) -> None:
        self._tenants = tenants
        self._event_of = event_of
        self._check = check

    async def lines(
        self,
        message: Message,
        tenant: str,
        route: str,
        given: GivenOf,
    ) -> tuple[Line, ...]:
        """given: what the mapping is told of the event. Raises what `check` raises, ConnectionLost."""
        name = f"{tenant}/{route}"
        try:
            event = await self._event_of(message)
        except (EventInvalid, ObjectMissing, ObjectDamaged):
            return ((name, "", None),)  # its turn says what is wrong with it
        return await self._of(event, tenant, route, given)

    async def of_letter(self, event: dict[str, Any], route: str) -> tuple[Line, ...]:
        """The lines of a dead letter's event; route: `tenant/route`. Raises as `lines`."""
        tenant, _, name = route.partition("/")

        def given(event: dict[str, Any], found: RouteInForce) -> RenderInput:
            return RenderInput(event, tenant, name, dict(found.route.params), "", found.tenant.timezone)

        return await self._of(event, tenant, name, given)

    async def _of(self, event: dict[str, Any], tenant: str, route: str, given: GivenOf) -> tuple[Line, ...]:
        name = f"{tenant}/{route}"
        found = self._tenants.find(tenant, route)
        own = lines_of(event, name)
        if found is None or not found.route.orders:
            return own
        keys = await self._keys(found, given(event, found))
        return (*own, *(ordering_line(name, key) for key in keys))

    async def _keys(self, found: RouteInForce, given: RenderInput) -> tuple[Any, ...]:
        while True:
            self._check()
            try:
                mapping = await self._tenants.mapping(found)
                return await mapping.ordering_keys(given)
            except NotReady:
                return ()
            except RendererBroken as error:
                # in which order it goes must not depend on a process that does not start
                log.warning(
                    "a delivery waits for its place in the order", route=given.route, because=str(error)
                )
            await asyncio.sleep(PAUSE_S)
