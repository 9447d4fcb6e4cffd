"""A lane's lease in the bucket LANES: acquired, renewed every second, checked before every act, released (rule R2)."""

import asyncio
import contextlib
import secrets
import time

import msgspec
import structlog

from eventbus.buckets import Bucket, RevisionConflict
from eventbus.errors import JetStreamError, NoAnswer
from pipeline.boottime import boottime
from pipeline.lanes.board import LaneBoard
from pipeline.lanes.lease import RENEW_S, VALID_S, Lease, LeaseWatch, Tenure, read_lease

AGAIN_S = 0.2
"""So soon a renewal is tried again that was not answered: another second, and the lease would have run out."""

log = structlog.get_logger()


class LeaseLost(Exception):
    """The lane is no longer ours to act for."""


class LaneLease:
    """The lease of a lane, or of what else has one owner at a time; held by us. Made by `acquire` and `acquire_alone`."""

    def __init__(self, bucket: Bucket, lane: int | str, owner: str, before: Lease | None) -> None:
        self.before = before
        """The lease of the last owner; None: the lane never had one."""
        self._bucket = bucket
        self._lane = lane
        self._key = f"lease.{lane}"
        self._owner = owner
        self._revision = 0
        self._tenure = Tenure(0.0)
        self._lost = self._given_up = False

    def check(self) -> None:
        """Call it just before every act. Raises LeaseLost."""
        if self._lost or not self._tenure.holds(boottime()):
            raise LeaseLost(f"the lease of lane {self._lane} has run out")

    async def keep(self) -> None:
        """Renews until it raises LeaseLost, or ConnectionLost. Once we have given it up it only waits to be cancelled."""
        pause = RENEW_S
        while not self._given_up:
            await asyncio.sleep(pause)
            if not self._given_up:
                self.check()
                pause = RENEW_S if await self._renew() else AGAIN_S
        await asyncio.get_running_loop().create_future()

    async def claim(self, revision: int) -> bool:
        """Takes the lease over `revision`; whether it is ours now. Raises as Bucket does."""
        began = boottime()
        try:
            self._revision = await self._write(revision, released=False)
        except RevisionConflict:
            return False
        self._tenure.renewed(began)
        return True

    def give_up(self) -> None:
        """From now on `check` raises: nothing more is done for the lane."""
        self._lost = self._given_up = True

    async def release(self) -> None:
        """Nothing is done for the lane any more: the next owner need not wait. Nothing happens where it is not ours."""
        self.give_up()
        with contextlib.suppress(NoAnswer, JetStreamError):
            try:
                await self._write(self._revision, released=True)
            except RevisionConflict:  # a renewal was under way, and nobody waited for its answer
                with contextlib.suppress(RevisionConflict, LeaseLost):
                    await self._adopt()
                    await self._write(self._revision, released=True)

    async def _renew(self) -> bool:
        """Whether it is renewed, as far as we know."""
        began = boottime()
        try:
            async with asyncio.timeout(VALID_S / 2):
                self._revision = await self._write(self._revision, released=False)
        except (TimeoutError, NoAnswer):
            return False
        except RevisionConflict:
            with contextlib.suppress(NoAnswer):
                await self._adopt()
            return False
        except JetStreamError as error:
            log.warning("a lease could not be renewed", lane=self._lane, error=str(error))
            return False
        self._tenure.renewed(began)
        return True

    async def _adopt(self) -> None:
        """A renewal whose answer was lost is ours all the same: nobody else writes our name."""
        entry = await self._bucket.get(self._key)
        lease = read_lease(entry.value) if entry else None
        if entry is None or lease is None or lease.owner != self._owner:
            self._lost = True
            raise LeaseLost(f"lane {self._lane} was taken over by {lease.owner if lease else 'nobody'}")
        self._revision = entry.revision

    async def _write(self, revision: int, *, released: bool) -> int:
        lease = Lease(self._owner, time.time(), released)
        return await self._bucket.update(self._key, msgspec.json.encode(lease), revision)


async def acquire(bucket: Bucket, board: LaneBoard, lane: int, me: str) -> LaneLease | None:
    """Waits until nobody owns the lane and it is for us, and takes it; None: this worker stops.

    me: this process, unlike any other; it may call only when its last ownership of the lane is over.

    Raises ConnectionLost.
    """
    while not board.stopping:
        if (found := board.free(lane)) is not None:
            lease = LaneLease(bucket, lane, f"{me}.{secrets.token_hex(4)}", found.lease)
            with contextlib.suppress(NoAnswer, JetStreamError):
                if await lease.claim(found.revision):
                    return lease
        await board.change(lane)
    return None


async def acquire_alone(bucket: Bucket, name: str, me: str) -> LaneLease:
    """Waits until nobody owns what is not a lane and has no preferred owner, and takes it. Else as `acquire`."""
    watch = LeaseWatch()
    while True:
        with contextlib.suppress(NoAnswer, JetStreamError):
            entry = await bucket.get(f"lease.{name}")
            before, revision = read_lease(entry.value) if entry else None, entry.revision if entry else 0
            ours = before is not None and before.owner.startswith(f"{me}.")
            if ours or watch.may_claim(before, revision, boottime()):
                lease = LaneLease(bucket, name, f"{me}.{secrets.token_hex(4)}", before)
                if await lease.claim(revision):
                    return lease
        await asyncio.sleep(RENEW_S)
