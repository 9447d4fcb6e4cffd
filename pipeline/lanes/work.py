"""What a lane's owner shares with its routes that are apart."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.subjects import Subjects
from pipeline.delivery.acks import Acks
from pipeline.delivery.delivery import Item, Services
from pipeline.delivery.retry_record import Known
from pipeline.lanes.ordering import Line
from pipeline.lanes.records import LaneRecords
from pipeline.lanes.settled_memory import SettledMemory
from pipeline.lanes.state import LaneState
from pipeline.lanes.turns import LaneTurns
from pipeline.routes.trouble import RoutesInTrouble


class DeliveryMissed(Exception):
    """Somebody else was given a message, or one got lost on the way: the consumer must be swept again."""


class Hold(Protocol):
    async def __call__(self, message: Message, known: Known | None, *, apart: bool = False) -> None:
        """Holds a message and offers it where it may go. known: None where its record must be read."""


@dataclass(frozen=True, slots=True)
class LaneWork:
    """check: raises where the lane is no longer ours. taking: held from when the lane sees a message until it is held.

    lines_of: a dead letter's event and its route.
    suspecting: held while one is handled alone; bury: makes one a dead letter that ended so many workers.
    """

    jetstream: JetStream
    subjects: Subjects
    services: Services
    state: LaneState[Item]
    memory: SettledMemory
    turns: LaneTurns
    acks: Acks
    records: LaneRecords
    troubles: RoutesInTrouble
    hold: Hold
    lines_of: Callable[[dict[str, Any], str], Awaitable[tuple[Line, ...]]]
    taking: asyncio.Lock
    suspecting: asyncio.Lock
    bury: Callable[[Message, int], Awaitable[None]]

    def is_blocking(self, route: str) -> bool:
        """Whether a route's (`tenant/route`) dead letters keep their keys' later events waiting (rule R11)."""
        tenant, _, name = route.partition("/")
        found = self.services.tenants.find(tenant, name)
        return found is not None and found.route.on_dead_letter == "block"

    check: Callable[[], None]
