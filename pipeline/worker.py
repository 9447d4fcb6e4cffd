"""The worker: every lane that nobody else owns, the tenants in force, and the keeper of dead letters."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from connectors.egress import EgressPolicy
from eventbus.buckets import Bucket
from eventbus.connection import Connection
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.settling import Settling
from eventbus.subjects import Subjects
from pipeline.attempts_log import AttemptsLog
from pipeline.dead_letter_keeper import DeadLetterKeeper
from pipeline.dead_letter_store import DeadLetterStore
from pipeline.delivery import Services
from pipeline.lane_owner import Lane, own_lane
from pipeline.retry_records import RetryRecords
from pipeline.settled_memory import SettledMemory
from pipeline.side_by_side import all_ended, side_by_side
from pipeline.tenants_in_force import TenantsInForce

LAST_RECORDS_S = 2.0

log = structlog.get_logger()


class Worker:
    """One process's worker; `run` is called for each connection to NATS, and what is remembered stays."""

    def __init__(
        self,
        subjects: Subjects,
        lanes: int,
        *,
        me: str,
        deadline_s: float,
        secrets_keys: Sequence[bytes],
        egress: EgressPolicy,
    ) -> None:
        """me: this process, unlike any other; deadline_s: of routes that have none of their own."""
        self._subjects = subjects
        self._lanes = lanes
        self._deadline_s = deadline_s
        self._me = me
        self._tenants = TenantsInForce(subjects, secrets_keys, egress)
        self._attempts = AttemptsLog(subjects)
        self._memories = [SettledMemory() for _ in range(lanes)]

    async def run(
        self, connection: Connection, stop: asyncio.Event, on_begun: Callable[[], object] = lambda: None
    ) -> None:
        """Works until `stop` is set and every lane is left in order; `on_begun`: told once it takes lanes. Raises ConnectionLost, JetStreamError."""
        jetstream = JetStream(connection)
        services = self._services(connection, jetstream)
        keeper = DeadLetterKeeper(jetstream, self._subjects, services)
        ready = asyncio.Event()

        async def own_lanes() -> None:
            await ready.wait()
            on_begun()
            await self._own_lanes(jetstream, services, stop)

        await side_by_side(
            self._tenants.follow(jetstream, ready),
            self._attempts.publish(connection),
            keeper.run(),
            own_lanes(),
        )

    async def aclose(self) -> None:
        await self._tenants.aclose()

    def _services(self, connection: Connection, jetstream: JetStream) -> Services:
        subjects = self._subjects
        return Services(
            tenants=self._tenants,
            records=RetryRecords(Bucket(jetstream, subjects.bucket("RETRY"))),
            objects=ObjectStore(jetstream, subjects.bucket("BIG_EVENTS")),
            dead_letters=DeadLetterStore(jetstream, subjects),
            attempts=self._attempts,
            settling=Settling(connection),
            deadline_s=self._deadline_s,
            worker=self._me,
        )

    async def _own_lanes(self, jetstream: JetStream, services: Services, stop: asyncio.Event) -> None:
        log.info("working", worker=self._me, lanes=self._lanes)
        owners = [
            asyncio.create_task(
                own_lane(
                    jetstream,
                    Lane(number, self._lanes, self._subjects, self._me),
                    services,
                    self._memories[number],
                    stop,
                )
            )
            for number in range(self._lanes)
        ]
        try:
            await asyncio.gather(*owners)
        finally:
            for owner in owners:
                owner.cancel()
            await all_ended(owners)
        await self._attempts.drain(LAST_RECORDS_S)
