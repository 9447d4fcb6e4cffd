"""The bucket RETRY: how often a delivery was tried, kept for whoever owns its lane next (rules R1, R14)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import msgspec
import structlog

from eventbus.buckets import Bucket, RevisionConflict
from eventbus.errors import JetStreamError, NoAnswer
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.retry_record import Known, RetryRecord

LONGER_S = 30 * 86_400.0
"""So much longer than its delivery may a record live: while a route is paused, deliveries do not grow older."""
MARKER_S = 60.0
PAUSE_S = 0.5

T = TypeVar("T")
log = structlog.get_logger()
_decoder = msgspec.json.Decoder(RetryRecord, float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class RetryRecords:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self, delivery: DeliveryId) -> Known:
        entry = await self._bucket.get(_key(delivery))
        if entry is None:
            return Known()
        record = RetryRecord() if entry.value is None else _decoder.decode(entry.value)
        if delivery.first and record.of != delivery.seq:
            # of the delivery before: its attempts are not ours, and that it was sent a person knows who replays it
            record = record.for_replay or RetryRecord()
        return Known(msgspec.structs.replace(record, of=0), entry.revision)

    async def write(
        self, delivery: DeliveryId, record: RetryRecord, expected: int, until: float
    ) -> int | None:
        """The new revision, or None where another one stands there. until: the record lives `LONGER_S` longer.

        A write without an answer counts as refused: what stands there is read then, and never taken for ours.
        """
        expires = max(0.0, until - time.time()) + LONGER_S
        try:
            return await self._bucket.update(
                _key(delivery),
                _encoder.encode(msgspec.structs.replace(record, of=delivery.seq)),
                expected,
                expires=expires,
            )
        except (RevisionConflict, NoAnswer):
            return None

    async def forget(self, delivery: DeliveryId, revision: int) -> None:
        """The delivery is settled. A record that stays expires by itself."""
        try:
            await self._bucket.delete(_key(delivery), revision, marker_expires=MARKER_S)
        except (RevisionConflict, NoAnswer, JetStreamError) as error:
            log.debug("a retry record stays until it expires", key=_key(delivery), error=str(error))


async def persist(check: Callable[[], None], ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until there is an answer. check: called before every try, ends the waiting by raising."""
    while True:
        check()
        try:
            return await ask()
        except NoAnswer:
            await asyncio.sleep(PAUSE_S)


def _key(delivery: DeliveryId) -> str:
    return f"{delivery.tenant}.{delivery.route}.{delivery.first or delivery.seq}"
