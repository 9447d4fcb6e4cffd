"""Deletes deliveries that nobody needs any more (rule R12). What that is decides `pipeline.keeping.purge`."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from eventbus.buckets import Bucket
from eventbus.fence import Stored
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.keeping.purge import (
    PRESSURE,
    Detached,
    Filling,
    LaneFloor,
    Purge,
    Purged,
    holding_back,
    lane_floor,
    least,
    purge_deliveries,
    purge_tenants,
)
from pipeline.keeping.stream_purge import StreamOf, filling_of, floor_of
from pipeline.lanes.lease import read_lease
from pipeline.lanes.takeover import State

SHARD = 0
_decoder = msgspec.json.Decoder(State)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _LaneRecord:
    """Who owns a lane, and what its state says at which revision."""

    owner: str
    released: bool
    revision: int
    state: State


@dataclass(frozen=True, slots=True)
class Beside:
    """What else the keeper knows.

    caught_up: whether no delivery was given up of which a dead letter may still have to be made; replays: the first
    sequence that a replay under way may still ask for, None: there is none.
    """

    caught_up: Callable[[], Awaitable[bool]]
    replays: Callable[[], Awaitable[int | None]]


class DeliveriesPurge:
    def __init__(
        self, jetstream: JetStream, subjects: Subjects, lanes: int, keep_s: float, beside: Beside
    ) -> None:
        """keep_s: so long a delivery is kept although it is settled, where there is room."""
        self._beside = beside
        self._jetstream = jetstream
        self._subjects = subjects
        self._stream = subjects.stream("DELIVERIES")
        self._bucket = Bucket(jetstream, subjects.bucket("LANES"))
        self._lanes = lanes
        self._keep_s = keep_s

    async def once(self, check: Callable[[], None], urgency: float = 1.0) -> Purged:
        """Purges. check: raises where another keeper has taken over; urgency: see `Filling`.

        Raises as JetStream does, and ValueError.
        """
        kept = StreamOf(self._stream, self._subjects.all_deliveries, self._keep_s)
        filling, old = await filling_of(self._jetstream, kept, urgency)
        spared = await self._spared_up_to(filling, old)
        if spared < filling.first_seq:
            return Purged(held_by="the router, a replay, or the time they are kept")
        before = await self._records()
        floors = await asyncio.gather(
            *(self._floor(lane, filling, record) for lane, record in enumerate(before))
        )
        if before != await self._records():
            return Purged(held_by="a lane that is changing", unsure=True)
        if not await self._beside.caught_up():
            return Purged(held_by="a dead letter that may be missing", unsure=True)
        deleted = 0
        for purge in purge_deliveries(filling, spared, floors):
            check()
            deleted += await self._delete(purge)
        if filling.full > PRESSURE:
            deleted += await self._relieve(spared, floors, check)
        return Purged(deleted, least(holding_back(floors)))

    async def _spared_up_to(self, filling: Filling, old: int) -> int:
        """What a router that starts may look at stays: behind the last position, a torn batch (rule T3).

        So does what replays that were begun may look at, for the same reason.
        """
        replays = await self._beside.replays()
        position = await self._jetstream.last_message(self._stream, self._subjects.router_position(SHARD))
        if position is None:
            return 0
        stored = Stored.read(position.seq, position.payload)
        routed = stored.mark.scan_from if stored.mark.claim else stored.seq
        return min(filling.spared_up_to(old), routed, *(() if replays is None else (replays - 1,)))

    async def _records(self) -> list[_LaneRecord]:
        return await asyncio.gather(*map(self._record, range(self._lanes)))

    async def _record(self, lane: int) -> _LaneRecord:
        held = await self._bucket.get(f"lease.{lane}")
        lease = read_lease(held.value) if held else None
        entry = await self._bucket.get(f"state.{lane}")
        state = State() if entry is None or entry.value is None else _decoder.decode(entry.value)
        return _LaneRecord(
            lease.owner if lease else "",
            lease.released if lease else True,
            entry.revision if entry else 0,
            state,
        )

    async def _floor(self, lane: int, filling: Filling, record: _LaneRecord) -> LaneFloor:
        info = await self._jetstream.consumer_info(self._stream, f"lane-{lane}")
        detached = [
            await self._detached(name, trouble.incarnation, trouble.start)
            for name, trouble in record.state.routes.items()
            if trouble.phase == "on"
        ]
        return lane_floor(lane, filling.last_seq, floor_of(info), detached)

    async def _detached(self, name: str, incarnation: int, start: int) -> Detached:
        tenant, _, route = name.partition("/")
        consumer = self._subjects.own_consumer(tenant, route, incarnation)
        info = await self._jetstream.consumer_info(self._stream, consumer)
        return Detached((tenant, route), start, floor_of(info))

    async def _relieve(self, spared: int, floors: list[LaneFloor], check: Callable[[], None]) -> int:
        """Routes in trouble hold their lanes back, and the stream is nearly full: tenant by tenant."""
        deleted = 0
        for lane in floors:
            if lane.detached and lane.floor < min(lane.settled, spared):
                for purge in purge_tenants(spared, lane, await self._tenants(lane.lane)):
                    check()
                    deleted += await self._delete(purge)
        return deleted

    async def _tenants(self, lane: int) -> list[str]:
        """Those with deliveries in the lane, most first."""
        request = {"subjects_filter": self._subjects.lane(lane)}
        info = await self._jetstream.stream_info(self._stream, request) or {}
        found: Counter[str] = Counter()
        for subject, count in (info.get("state", {}).get("subjects") or {}).items():
            found[self._subjects.parse_delivery(subject).tenant] += count
        return [tenant for tenant, _ in found.most_common()]

    async def _delete(self, purge: Purge) -> int:
        subject = self._subjects.all_deliveries
        if purge.lane is not None:
            subject = self._subjects.lane(purge.lane)
            if purge.tenant is not None:
                subject = self._subjects.deliveries_of(purge.lane, purge.tenant)
        return await self._jetstream.purge_stream(self._stream, subject=subject, below=purge.upto + 1)
