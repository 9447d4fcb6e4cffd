"""The worker: its share of the lanes, the tenants in force, and the keeper's work where no other does it."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from connectors.egress import EgressPolicy
from eventbus.buckets import Bucket
from eventbus.connection import Connection
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.settling import Settling
from eventbus.subjects import Subjects
from pipeline.delivery.attempts_log import AttemptsLog
from pipeline.delivery.delivery import Services
from pipeline.delivery.retry_records import RetryRecords
from pipeline.delivery.saved_values import SavedValues
from pipeline.dlq.store import DeadLetterStore
from pipeline.dlq.upkeep import LetterUpkeep
from pipeline.keeping.keeper import Keeper, KeeperSettings
from pipeline.lanes.board import LaneBoard
from pipeline.lanes.membership import Member
from pipeline.lanes.owner import Lane, own_lane
from pipeline.lanes.settled_memory import SettledMemory
from pipeline.rows.enrichment import Enrichment
from pipeline.rows.row_reads import NoRows, RowReader
from pipeline.side_by_side import all_ended, side_by_side
from pipeline.tenants.in_force import TenantsInForce

LAST_RECORDS_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """me: this process, unlike any other; deadline_s: of routes that have none of their own.

    patience_s: what is under way so long after `stop` is cut off, and its lane handed over all the same.
    """

    me: str
    lanes: int
    deadline_s: float
    keeper: KeeperSettings
    patience_s: float = 20.0


class Worker:
    """One process's worker; `run` is called for each connection to NATS, and what is remembered stays."""

    def __init__(
        self,
        subjects: Subjects,
        settings: WorkerSettings,
        *,
        secrets_keys: Sequence[bytes],
        egress: EgressPolicy,
    ) -> None:
        self._subjects = subjects
        self._settings = settings
        self._me = settings.me
        self._started = time.time()
        self._board: LaneBoard | None = None
        self._tenants = TenantsInForce(subjects, secrets_keys, egress)
        self._attempts = AttemptsLog(subjects)
        self._memories = [SettledMemory() for _ in range(settings.lanes)]
        self._enrichment = Enrichment(NoRows())

    def reads_rows_with(self, reader: RowReader) -> None:
        """For mappings with `enrich`, and columns that came unchanged; without it their routes wait. Closed with this."""
        self._enrichment = Enrichment(reader)

    async def run(
        self, connection: Connection, stop: asyncio.Event, on_begun: Callable[[], object] = lambda: None
    ) -> None:
        """Works until `stop` is set and every lane is left in order; `on_begun`: told once it takes lanes. Raises ConnectionLost, JetStreamError."""
        jetstream = JetStream(connection)
        services = self._services(connection, jetstream)
        keeper = Keeper(jetstream, self._subjects, self._settings.lanes, self._settings.keeper, services)
        me = Member(self._me, socket.gethostname(), self._started)
        board = self._board = LaneBoard(
            jetstream, self._subjects, self._settings.lanes, me, self._settings.patience_s
        )
        ready, following = asyncio.Event(), asyncio.Event()

        async def follow_board() -> None:
            await ready.wait()  # who says that it is there is given lanes
            await board.follow(following, self._tenants.warm_up)

        async def own_lanes() -> None:
            await following.wait()
            on_begun()
            await self._own_lanes(jetstream, services, board, stop)

        await side_by_side(
            self._tenants.follow(jetstream, ready),
            self._attempts.publish(connection),
            keeper.run(),
            follow_board(),
            LetterUpkeep(jetstream, self._subjects).run(),
            own_lanes(),
        )

    @property
    def standing(self) -> Mapping[str, object]:
        """What it says of itself: its name, the lanes that it owns, and how many workers it sees."""
        board = self._board
        owned, workers = (board.owned, board.workers) if board else ([], 1)
        return {"worker": self._me, "lanes": owned, "lanes_of": self._settings.lanes, "workers": workers}

    async def aclose(self) -> None:
        await self._tenants.aclose()
        await self._enrichment.aclose()

    def _services(self, connection: Connection, jetstream: JetStream) -> Services:
        subjects = self._subjects
        return Services(
            tenants=self._tenants,
            records=RetryRecords(Bucket(jetstream, subjects.bucket("RETRY"))),
            objects=ObjectStore(jetstream, subjects.bucket("BIG_EVENTS")),
            dead_letters=DeadLetterStore(jetstream, subjects),
            attempts=self._attempts,
            settling=Settling(connection),
            deadline_s=self._settings.deadline_s,
            enrichment=self._enrichment,
            saved=SavedValues(Bucket(jetstream, subjects.bucket("SAVED"))),
            worker=self._me,
        )

    async def _own_lanes(
        self, jetstream: JetStream, services: Services, board: LaneBoard, stop: asyncio.Event
    ) -> None:
        log.info("working", worker=self._me, lanes=self._settings.lanes, workers=board.workers)
        owners = [
            asyncio.create_task(
                own_lane(
                    jetstream,
                    Lane(number, self._settings.lanes, self._subjects, self._me),
                    services,
                    self._memories[number],
                    board,
                )
            )
            for number in range(self._settings.lanes)
        ]

        async def leave() -> None:
            await stop.wait()
            await board.stop()

        leaving = asyncio.create_task(leave())
        try:
            await asyncio.gather(*owners)
        finally:
            for task in (leaving, *owners):
                task.cancel()
            await all_ended([leaving, *owners])
        await board.leave()
        await self._attempts.drain(LAST_RECORDS_S)
