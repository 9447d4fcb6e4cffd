"""The audit trail: records on their way into ATTEMPTS, in order, without a delivery waiting for them.

It outlives a connection to NATS: what was not confirmed is sent again on the next one, and the stream's duplicate
window makes that harmless.
"""

import asyncio
import contextlib
from collections import deque

import structlog

from eventbus import wire
from eventbus.connection import Connection, Reply
from eventbus.errors import JetStreamError
from eventbus.event import encode_json
from eventbus.jetstream import refusal_of
from eventbus.subjects import Subjects
from pipeline.delivery.attempt import Attempt, attempt_record
from pipeline.metrics import ATTEMPTS

ROOM = 20_000
"""Records kept while NATS is away; then the oldest are dropped, with a word in the log."""
AT_ONCE = 500
GATHER_S = 0.005
"""So long records gather, that one write takes many of them."""
CONFIRM_S = 5.0

log = structlog.get_logger()


class AttemptsLog:
    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._waiting: deque[tuple[bytes, bytes, bytes]] = deque()
        self._something = asyncio.Event()
        self._all_there = asyncio.Event()
        self._dropped = 0

    def write(self, attempt: Attempt) -> None:
        """One record for the stream, and one line in the log: at the level `debug`, if all is well."""
        record = attempt_record(attempt)
        ATTEMPTS.labels(record["then"]).inc()
        say = log.debug if record["then"] in ("ack", "next") else log.warning
        say("attempt", **record)
        if len(self._waiting) >= ROOM:
            self._waiting.popleft()
            self._dropped += 1
        delivery = attempt.delivery
        subject = self._subjects.attempt(delivery.tenant, delivery.route)
        # the began moment tells a second attempt with the same number, after a lost connection, from a second copy
        unique = f"{delivery.seq}-{attempt.number}-{attempt.worker}-{attempt.began:.6f}"
        headers = b"Nats-Msg-Id: %b\r\n" % unique.encode()
        self._waiting.append((subject.encode(), headers, encode_json(record)))
        self._something.set()

    async def publish(self, connection: Connection) -> None:
        """Publishes what is written until the connection is lost. Raises ConnectionLost."""
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            if self._dropped:
                log.warning("records of attempts were dropped while NATS was away", records=self._dropped)
                self._dropped = 0
            await self._some(connection)
            if not self._waiting:
                self._something.clear()
                self._all_there.set()

    async def drain(self, within: float) -> None:
        """Waits, at most so many seconds, until the stream has everything; `publish` goes on meanwhile."""
        self._all_there.clear()
        if self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._all_there.wait()

    async def _some(self, connection: Connection) -> None:
        records = [self._waiting[place] for place in range(min(AT_ONCE, len(self._waiting)))]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        missing = len(records)
        refusals: list[JetStreamError] = []

        def answered(reply: Reply) -> None:
            # a refusal counts too: a record that the stream does not take must not stop those behind it
            nonlocal missing
            missing -= 1
            if (refusal := refusal_of("record attempts", reply)) is not None:
                refusals.append(refusal)
            if not missing and not done.done():
                done.set_result(None)

        reply = connection.expect(answered)
        try:
            async with asyncio.timeout(CONFIRM_S):
                await connection.send(
                    b"".join(wire.hpub(*record[:1], reply, *record[1:]) for record in records)
                )
                await connection.unless_lost(done)
        except TimeoutError:
            return
        finally:
            connection.forget(reply)
        if refusals:
            log.warning("records of attempts were refused", records=len(refusals), error=str(refusals[0]))
        for record in records:
            if self._waiting and self._waiting[0] is record:
                self._waiting.popleft()
