"""Performs what is asked about the consumers of routes in trouble: made, listed, inspected, swept, deleted (R3, R6, R7).

Everything is done under the lane's lease, and until there is an answer. Raises LeaseLost, ConnectionLost, JetStreamError.
"""

import asyncio
from collections.abc import Callable
from typing import Any, assert_never

import structlog

from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from eventbus.message import ack_subject
from eventbus.pull_consumer import pinned_consumer
from eventbus.settling import Settling
from eventbus.subjects import Subjects, lane_of
from pipeline.delivery.retry_records import persist
from pipeline.lanes.takeover import ConsumerFacts, CreateConsumer, DeleteConsumer, ListConsumers
from pipeline.routes.session import InspectOwn, SweepOwn
from pipeline.routes.trouble import Trouble

MAX_ACK_PENDING = 1_000
REFUSED_S = 5.0
log = structlog.get_logger()
ConsumerRequest = CreateConsumer | ListConsumers | DeleteConsumer | InspectOwn | SweepOwn


class RouteConsumers:
    """Those of one lane."""

    def __init__(
        self, jetstream: JetStream, subjects: Subjects, lane: int, lanes: int, check: Callable[[], None]
    ) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("DELIVERIES")
        self._settling = Settling(jetstream.connection)
        self._lane, self._lanes = lane, lanes
        self._check = check

    async def answer(self, request: ConsumerRequest) -> Any:
        """A consumer that the server does not make now (10026: it has too many) is asked for again and again."""
        while True:
            try:
                return await persist(self._check, lambda: self._answer(request))
            except JetStreamError as error:
                if not isinstance(request, CreateConsumer):
                    raise
                log.warning(
                    "a route cannot leave its lane: its consumer is refused",
                    route=request.route,
                    error=str(error),
                )
                await asyncio.sleep(REFUSED_S)

    async def answer_at_takeover(self, request: ConsumerRequest) -> Any:
        """As `answer`, but a consumer that is refused is left to the route's first session: its neighbours do not wait."""
        try:
            return await persist(self._check, lambda: self._answer(request))
        except JetStreamError as error:
            if not isinstance(request, CreateConsumer):
                raise
            log.warning("a route's own consumer is refused for now", route=request.route, error=str(error))

    async def widen(self, route: str, trouble: Trouble, limit: int) -> None:
        """Lets the server give so many that are not settled. Raises as `answer` does."""
        config = self._config(route, trouble, limit)
        await persist(
            self._check, lambda: self._jetstream.create_consumer(self._stream, config, action="update")
        )

    async def _answer(self, request: ConsumerRequest) -> Any:
        match request:
            case CreateConsumer():
                return await self._create(request)
            case ListConsumers():
                return await self._list()
            case DeleteConsumer(route, incarnation):
                return await self._jetstream.delete_consumer(self._stream, self.name(route, incarnation))
            case InspectOwn(route, incarnation):
                return await self._inspect(self.name(route, incarnation))
            case SweepOwn():
                sample = ack_subject(self._stream, self.name(request.route, request.incarnation))
                return await self._settling.sweep(sample, request.first, request.last, request.consumer_seq)
            case _:
                assert_never(request)

    def name(self, route: str, incarnation: int) -> str:
        return self._subjects.own_consumer(*_names(route), incarnation)

    async def _create(self, request: CreateConsumer) -> None:
        config = self._config(request.route, request.trouble, MAX_ACK_PENDING)
        await self._jetstream.create_consumer(self._stream, config)

    def _config(self, route: str, trouble: Trouble, limit: int) -> dict[str, Any]:
        return pinned_consumer(
            self.name(route, trouble.incarnation),
            self._subjects.delivery(self._lane, *_names(route)),
            max_ack_pending=limit,
            start=trouble.start,
        )

    async def _list(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for name in await self._jetstream.consumer_names(self._stream):
            own = self._subjects.parse_own_consumer(name)
            if own is not None and lane_of(own[0], self._lanes) == self._lane:
                found.append((f"{own[0]}/{own[1]}", own[2]))
        return found

    async def _inspect(self, name: str) -> ConsumerFacts | None:
        info = await self._jetstream.consumer_info(self._stream, name)
        return None if info is None else consumer_facts(info)


def consumer_facts(info: dict[str, Any]) -> ConsumerFacts:
    """What CONSUMER.INFO says."""
    return ConsumerFacts(
        floor=info["ack_floor"]["stream_seq"],
        delivered=info["delivered"]["stream_seq"],
        consumer_seq=info["delivered"]["consumer_seq"],
        pending=info["num_ack_pending"],
        waiting=info["num_pending"],
    )


def _names(route: str) -> tuple[str, str]:
    tenant, _, name = route.partition("/")
    return tenant, name
