"""Writes the dead letters that a worker could not write, from the server's advisories (rule R10).

A worker writes the dead letter first and terminates the message then, so there is hardly ever one missing; a consumer
that somebody configured with `max_deliver`, or a message that somebody terminated by hand, is what this is for. The
keeper does it; what is done twice all the same does no harm.
"""

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import structlog

from eventbus.errors import JetStreamError, NoAnswer
from eventbus.event import HEADER_EVENT_ID, HEADER_EVENT_SEQ, HEADER_OBJECT, HEADER_REPLAY_KEY
from eventbus.jetstream import JetStream, StoredMessage
from eventbus.message import Message, ack_subject
from eventbus.pull_consumer import ConsumerGone, PullConsumer, Source
from eventbus.settling import Settling
from eventbus.subjects import Subjects
from eventbus.wire import header_lines
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.delivery import Services
from pipeline.delivery.disposition import DeadLetter, Problem, Reason
from pipeline.dlq.dead_letter import dead_letter, letter_headers
from pipeline.dlq.store import WriteHooks
from pipeline.routes.consumers import consumer_facts

CONSUMER = "keeper"
WINDOW = 256
ACK_WAIT_S = 60.0
PURGE_S = 60.0
AGAIN_S = 1.0
TERMINATED = "io.nats.jetstream.advisory.v1.terminated"
EXHAUSTED = "io.nats.jetstream.advisory.v1.max_deliver"

log = structlog.get_logger()


class Advisory(msgspec.Struct, frozen=True):
    """What the server says when it gives a message up."""

    type: str
    id: str
    consumer: str
    stream_seq: int
    reason: str = ""
    deliveries: int = 0

    @property
    def ours(self) -> bool:
        """Of a consumer that works for delivery."""
        return self.type in (TERMINATED, EXHAUSTED) and self.consumer.startswith(("lane-", "route--"))

    def letter(self) -> DeadLetter:
        """What the dead letter says when nobody else wrote it."""
        if self.type == EXHAUSTED:
            message = (
                f"consumer {self.consumer} has max_deliver set: given up after {self.deliveries} deliveries"
            )
            return DeadLetter("exhausted", Problem("max_deliver", message))
        word = self.reason.partition(" ")[0]
        known: dict[str, Reason] = {reason: reason for reason in get_args(Reason)}
        message = f"terminated on consumer {self.consumer}: {self.reason or 'no reason given'}"
        return DeadLetter(known.get(word, "crashed"), Problem("terminated", message))


_decoder = msgspec.json.Decoder(Advisory)


class DeadLetterKeeper:
    def __init__(
        self, jetstream: JetStream, subjects: Subjects, services: Services, check: Callable[[], None]
    ) -> None:
        """check: raises where another keeper has taken over."""
        self._check = check
        self._jetstream = jetstream
        self._subjects = subjects
        self._services = services
        self._settling = Settling(jetstream.connection)
        self._stream = subjects.stream("ADVISORIES")

    async def run(self) -> None:
        """Follows the advisories until the connection is lost. Raises ConnectionLost."""
        purged = asyncio.get_running_loop().time()
        while True:
            try:
                await self._jetstream.create_consumer(self._stream, _config())
                await self._sweep()
                consumer = PullConsumer(self._jetstream.connection, Source(self._stream, CONSUMER), WINDOW)
                await consumer.start()
                try:
                    while True:
                        await self._handle(await consumer.next())
                        if asyncio.get_running_loop().time() - purged > PURGE_S:
                            purged = asyncio.get_running_loop().time()
                            await self._purge()
                finally:
                    await consumer.stop()
            except (ConsumerGone, NoAnswer, JetStreamError) as error:
                log.warning("the keeper of dead letters begins again", because=str(error))
                await asyncio.sleep(AGAIN_S)

    async def _sweep(self) -> None:
        """What the last keeper had under way comes now, not when its `ack_wait` is over: until then nothing is purged."""
        info = await self._jetstream.consumer_info(self._stream, CONSUMER)
        if info is not None and info["num_ack_pending"]:
            facts, sample = consumer_facts(info), ack_subject(self._stream, CONSUMER)
            await self._settling.sweep(sample, facts.floor + 1, facts.delivered, facts.consumer_seq)

    async def _handle(self, messages: list[Message]) -> None:
        for message in messages:
            self._check()
            try:
                advisory = _decoder.decode(message.payload)
            except (ValueError, msgspec.DecodeError):
                log.warning("an advisory cannot be read", seq=message.seq)
                continue
            if advisory.ours:
                await self._complete(advisory)
        await self._settling.ack(messages)

    async def _complete(self, advisory: Advisory) -> None:
        stored = await self._jetstream.message(self._subjects.stream("DELIVERIES"), advisory.stream_seq)
        if stored is None:
            return  # purged: it was settled, and long ago
        try:
            subject = self._subjects.parse_delivery(stored.subject)
        except ValueError:
            return
        if await self._services.dead_letters.exists(subject.tenant, subject.route, stored.seq):
            return
        headers = stored.headers
        event_seq = headers.get(HEADER_EVENT_SEQ, "")
        delivery = DeliveryId(
            subject.tenant,
            subject.route,
            headers.get(HEADER_EVENT_ID, ""),
            int(event_seq) if event_seq.isdecimal() else 0,
            stored.seq,
            headers.get(HEADER_REPLAY_KEY, ""),
        )
        await self._write(delivery, stored, advisory)

    async def _write(self, delivery: DeliveryId, stored: StoredMessage, advisory: Advisory) -> None:
        record = (await self._services.records.read(delivery)).record
        payload = b"" if HEADER_OBJECT in stored.headers else stored.payload
        letter = advisory.letter()
        body = dead_letter(delivery, payload, letter, record, None, advisory.id)
        own = {name: value for name, value in stored.headers.items() if name.startswith("Bridge-")}
        lines = header_lines(own) + letter_headers(letter)
        await self._services.dead_letters.write(delivery, body, lines, WriteHooks(self._check))
        log.warning(
            "dead letter written from an advisory",
            delivery_id=delivery.text,
            delivery_seq=delivery.seq,
            reason=letter.reason,
        )

    async def caught_up(self) -> bool:
        """Whether every advisory stored so far is handled."""
        info = await self._jetstream.consumer_info(self._stream, CONSUMER)
        return info is not None and not info["num_pending"] and not info["num_ack_pending"]

    async def _purge(self) -> None:
        """What is handled is of no use any more, and the stream refuses when it is full."""
        info = await self._jetstream.consumer_info(self._stream, CONSUMER)
        if info is not None:
            below = info["ack_floor"]["stream_seq"] + 1
            for subject in self._subjects.stream_subjects("ADVISORIES"):
                await self._jetstream.purge_stream(self._stream, subject=subject, below=below)


def _config() -> dict[str, Any]:
    return {
        "name": CONSUMER,
        "durable_name": CONSUMER,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT_S * 1e9),
        "max_deliver": -1,
        "max_ack_pending": 1_000,
    }
