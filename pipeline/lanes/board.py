"""What this worker knows of its lanes and of the other workers: the buckets LANES and MEMBERS, followed.

It is how a lane's owner learns that another worker should have the lane, and how that one learns, at once, that it may.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from eventbus.buckets import Bucket, Entry, RevisionConflict, Watch
from eventbus.errors import ConnectionLost, JetStreamError, NoAnswer
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.boottime import boottime
from pipeline.lanes.lease import Lease, LeaseWatch, read_lease
from pipeline.lanes.membership import BEAT_S, GONE_S, Member, Membership
from pipeline.lanes.spread import LaneSpread
from pipeline.metrics import LANES, WORKERS
from pipeline.side_by_side import side_by_side

LOOK_S = 1.0
EXPIRES_S = GONE_S + 1
"""A member's key outlives it by less than anybody would miss it."""
_member_decoder = msgspec.json.Decoder(Member)

log = structlog.get_logger()


@dataclass(slots=True)
class _Lane:
    changed: asyncio.Event
    watch: LeaseWatch
    lease: Lease | None = None
    revision: int = 0
    free_since: float | None = None


@dataclass(frozen=True, slots=True)
class Free:
    """A lane's lease that may be taken over. lease: None where it never had one."""

    lease: Lease | None
    revision: int


class LaneBoard:
    """For one connection."""

    def __init__(
        self, jetstream: JetStream, subjects: Subjects, lanes: int, me: Member, patience_s: float
    ) -> None:
        """me: this worker, of which nobody else has the name; patience_s: how long it may take to stop."""
        self._leases = Bucket(jetstream, subjects.bucket("LANES"))
        self._members = Bucket(jetstream, subjects.bucket("MEMBERS"))
        self._me = me
        self._membership = Membership(me.worker)
        self._spread = LaneSpread(lanes, self._membership)
        self._lanes = [_Lane(asyncio.Event(), LeaseWatch()) for _ in range(lanes)]
        self._owned: set[int] = set()
        self._stop = asyncio.Event()
        self._patience_s = patience_s
        self._deadline = float("inf")

    @property
    def owned(self) -> list[int]:
        return sorted(self._owned)

    @property
    def workers(self) -> int:
        """How many may own lanes, ourselves included."""
        return len(self._membership.workers)

    async def follow(self, ready: asyncio.Event, warm_up: Callable[[], Awaitable[None]]) -> None:
        """Follows both buckets, says that we are there, and sets `ready`. Raises ConnectionLost, JetStreamError.

        warm_up: done before others are told to hand us lanes; who is alone takes them at once.
        """
        async with self._leases.watch("lease.*") as leases, self._members.watch("worker.*") as members:
            for entry in leases.initial:
                self._take_lease(entry)
            for entry in members.initial:
                self._take_member(entry)
            await side_by_side(
                self._follow_leases(leases), self._follow_members(members), self._join(ready, warm_up)
            )

    async def stop(self) -> None:
        """From now on lanes are only given up, and the others know."""
        self._deadline = asyncio.get_running_loop().time() + self._patience_s
        self._stop.set()
        self._membership.stopping = True
        await self._say()
        self._wake()

    async def leave(self) -> None:
        """We own nothing any more."""
        with contextlib.suppress(RevisionConflict, NoAnswer, JetStreamError, ConnectionLost):
            await self._members.delete(self._key, marker_expires=EXPIRES_S)

    @contextlib.contextmanager
    def owning(self, lane: int) -> Iterator[None]:
        self._owned.add(lane)
        self._spread.taken(lane, boottime())
        LANES.inc()
        try:
            yield
        finally:
            LANES.dec()
            self._owned.discard(lane)

    def free(self, lane: int) -> Free | None:
        """The lane's lease, where nobody owns it and it is for us to take."""
        now, found = boottime(), self._lanes[lane]
        # our own, of an ownership that ended: whatever it had under way has ended with it
        ours = found.lease is not None and found.lease.owner.startswith(f"{self._me.worker}.")
        if not ours and not found.watch.may_claim(found.lease, found.revision, now):
            found.free_since = None
            return None
        if found.free_since is None:
            found.free_since = now
        if not self._spread.may_try(lane, found.free_since, now):
            return None
        return Free(found.lease, found.revision)

    async def change(self, lane: int) -> None:
        """Returns when the lane has a new owner or none, there are other workers, or some time has passed."""
        changed = self._lanes[lane].changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await changed.wait()
        changed.clear()

    async def until_left(self, lane: int) -> None:
        """Returns when a lane of ours is to be given up."""
        while not self._stop.is_set() and not self._spread.should_leave(lane, boottime()):
            await self.change(lane)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def patiently(self, work: Coroutine[Any, Any, object]) -> None:
        """Returns when the work is done, or cuts it off when we have been stopping for too long."""
        await side_by_side(work, self._too_long())

    async def _too_long(self) -> None:
        await self._stop.wait()
        await asyncio.sleep(self._deadline - asyncio.get_running_loop().time())

    # ── What comes ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow_leases(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take_lease(entry)

    async def _follow_members(self, watch: Watch) -> None:
        while True:
            for entry in await watch.next():
                self._take_member(entry)

    def _take_lease(self, entry: Entry) -> None:
        number = entry.key.removeprefix("lease.")
        if not number.isdecimal() or int(number) >= len(self._lanes):
            return
        found = self._lanes[int(number)]
        if entry.revision <= found.revision:
            return
        before, found.lease, found.revision = found.lease, read_lease(entry.value), entry.revision
        found.watch.may_claim(found.lease, found.revision, boottime())
        if (
            found.lease is None
            or before is None
            or (found.lease.owner, found.lease.released)
            != (
                before.owner,
                before.released,
            )
        ):
            found.free_since = None
            found.changed.set()

    def _take_member(self, entry: Entry) -> None:
        worker, now = entry.key.removeprefix("worker."), boottime()
        if entry.value is None:
            self._tell(changed=self._membership.left(worker, now))
            return
        try:
            member = _member_decoder.decode(entry.value)
        except (ValueError, msgspec.DecodeError):
            return  # of a version that says it otherwise: the leases keep us apart
        self._tell(changed=self._membership.saw(member, now))

    async def _join(self, ready: asyncio.Event, warm_up: Callable[[], Awaitable[None]]) -> None:
        if self.workers > 1:
            await warm_up()
        await self._say()
        ready.set()
        while True:
            await asyncio.sleep(BEAT_S)
            self._tell(changed=self._membership.look(boottime()))
            await self._say()

    def _tell(self, *, changed: bool) -> None:
        WORKERS.set(self.workers)
        if changed:
            log.info("the workers have changed", workers=sorted(self._membership.workers))
            self._wake()

    def _wake(self) -> None:
        for lane in self._lanes:
            lane.changed.set()

    async def _say(self) -> None:
        me = msgspec.structs.replace(self._me, lanes=tuple(self.owned), stopping=self.stopping)
        try:
            await self._members.put(self._key, msgspec.json.encode(me), expires=EXPIRES_S)
        except (NoAnswer, JetStreamError) as error:
            log.warning("this worker could not say that it is there", because=str(error))

    @property
    def _key(self) -> str:
        return f"worker.{self._me.worker}"
