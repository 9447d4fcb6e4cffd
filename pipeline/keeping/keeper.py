"""The keeper: of any number of workers one keeps house (rules R10, R12, T8, C9).

It writes dead letters that are missing, finishes replays that were begun, and deletes what nobody needs any more: settled deliveries, routed events, objects
to which nothing refers. It may be killed at any moment, and does nothing that a second one could not do again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from eventbus.buckets import Bucket
from eventbus.errors import JetStreamError, NoAnswer
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.delivery.delivery import Services
from pipeline.dlq.begun_replays import BegunReplays
from pipeline.dlq.keeper import DeadLetterKeeper
from pipeline.dlq.replaying import Replaying
from pipeline.keeping.deliveries import Beside, DeliveriesPurge
from pipeline.keeping.events import EventsPurge
from pipeline.keeping.object_sweep import ObjectSweep
from pipeline.keeping.purge import PRESSURE, UNSURE, Pace, Purged
from pipeline.keeping.stream_purge import fullness
from pipeline.lanes.lane_lease import LeaseLost, acquire_alone
from pipeline.metrics import KEEPERS, PURGED, STREAM_FULL
from pipeline.side_by_side import side_by_side

NAME = "keeper"
AGAIN_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """Seconds. events_keep, deliveries_keep: how long what is done is kept while there is room.

    look: between looks at how full the streams are; purge, sweep: between purges while they are not, and between
    searches for orphaned objects.
    """

    events_keep: float
    deliveries_keep: float
    look: float = 5.0
    purge: float = 60.0
    sweep: float = 3_600.0


class Keeper:
    """For one connection."""

    def __init__(
        self,
        jetstream: JetStream,
        subjects: Subjects,
        lanes: int,
        settings: KeeperSettings,
        services: Services,
    ) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._lanes = lanes
        self._settings = settings
        self._services = services

    async def run(self) -> None:
        """Acts while nobody else does. Raises ConnectionLost."""
        bucket = Bucket(self._jetstream, self._subjects.bucket("LANES"))
        while True:
            lease = await acquire_alone(bucket, NAME, self._services.worker)
            log.debug("keeping house", worker=self._services.worker)
            try:
                with KEEPERS.track_inprogress():
                    await side_by_side(lease.keep(), *self._jobs(lease.check))
            except (LeaseLost, NoAnswer, JetStreamError) as error:
                log.warning("the keeper begins again", because=str(error))
            finally:
                await lease.release()
            await asyncio.sleep(AGAIN_S)

    def _jobs(self, check: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        jetstream, subjects, settings = self._jetstream, self._subjects, self._settings
        letters = DeadLetterKeeper(jetstream, subjects, self._services, check)
        begun = BegunReplays(jetstream, subjects, Replaying(jetstream.connection, subjects, self._lanes))
        beside = Beside(letters.caught_up, lambda: begun.finish(time.time()))
        deliveries = DeliveriesPurge(jetstream, subjects, self._lanes, settings.deliveries_keep, beside)
        events = EventsPurge(jetstream, subjects, settings.events_keep)
        return [
            letters.run(),
            self._purge("DELIVERIES", lambda urgency: deliveries.once(check, urgency)),
            self._purge("EVENTS", lambda urgency: events.once(check, urgency)),
            self._sweep(ObjectSweep(jetstream, subjects), check),
        ]

    async def _purge(self, name: str, once: Callable[[float], Awaitable[Purged]]) -> None:
        stream, settings, now = self._subjects.stream(name), self._settings, asyncio.get_running_loop().time
        due, pace, pressed = now(), Pace(settings.look, settings.purge), False
        while True:
            async with self._tolerant(name):
                full = await fullness(self._jetstream, stream)
                STREAM_FULL.labels(name).set(full)
                rises = full > PRESSURE and not pressed
                pressed = full > PRESSURE
                if rises or now() >= due:
                    due = now() + pace.after(UNSURE, pressed=pressed)  # where there is no answer
                    done = await once(pace.urgency)
                    self._say(name, full, done)
                    due = now() + pace.after(done, pressed=pressed)
            await asyncio.sleep(settings.look)

    def _say(self, name: str, full: float, done: Purged) -> None:
        PURGED.labels(name).inc(done.deleted)
        if done.deleted:
            log.info("purged", stream=name, deleted=done.deleted, full=round(full, 2))
        elif full > PRESSURE:
            log.warning(
                "a stream is nearly full, and what it holds is still needed",
                stream=name,
                full=round(full, 2),
                held_by=done.held_by,
            )

    async def _sweep(self, objects: ObjectSweep, check: Callable[[], None]) -> None:
        while True:
            async with self._tolerant("BIG_EVENTS"):
                deleted = await objects.once(check)
                PURGED.labels("BIG_EVENTS").inc(deleted)
                if deleted:
                    log.info("purged", stream="BIG_EVENTS", deleted=deleted)
            await asyncio.sleep(self._settings.sweep)

    @contextlib.asynccontextmanager
    async def _tolerant(self, name: str) -> AsyncIterator[None]:
        """What cannot be done now is tried again: nothing is lost by waiting, and the rest of the keeper goes on."""
        try:
            yield
        except (NoAnswer, JetStreamError, ValueError, msgspec.MsgspecError) as error:
            log.warning("the keeper deletes nothing this time", of=name, because=str(error))
