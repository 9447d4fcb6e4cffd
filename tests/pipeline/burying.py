"""Dead letters as workers leave them, put by hand."""

import time
from typing import Any

import msgspec

from connectors.protocol import Answer
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.subjects import Subjects, lane_of
from eventbus.wire import header_lines
from pipeline.delivery.attempt import DeliveryId
from pipeline.delivery.disposition import DeadLetter, Problem, Reason
from pipeline.delivery.retry_record import RetryRecord
from pipeline.dlq.dead_letter import dead_letter, letter_headers
from pipeline.dlq.replaying import LetterId
from pipeline.dlq.store import DeadLetterStore, WriteHooks


class Graveyard:
    """DELIVERIES and DLQ of one namespace, with `lanes` lanes."""

    def __init__(self, jetstream: JetStream, subjects: Subjects, lanes: int) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._lanes = lanes
        self._store = DeadLetterStore(jetstream, subjects)
        self._objects = ObjectStore(jetstream, subjects.bucket("BIG_EVENTS"))
        self._number = 0

    async def bury(
        self,
        key: int,
        reason: Reason = "rejected",
        *,
        big: bool = False,
        tenant: str = "acme",
        **problem: Any,
    ) -> LetterId:
        """A delivery of order `key` and its dead letter. problem: members of Problem."""
        self._number += 1
        event_id = f"shop:0/{self._number:X}:1"
        event: dict[str, Any] = {
            "v": 1,
            "id": event_id,
            "op": "update",
            "tenant": "4711",
            "source": {"name": "shop", "schema": "public", "table": "orders"},
            "key": {"id": key},
            "before": None,
            "after": {"id": key, "n": self._number},
        }
        payload, headers = msgspec.json.encode(event), {HEADER_EVENT_ID: event_id, "Bridge-Event-Seq": "7"}
        if big:
            await self._objects.put(event_id, payload)
            payload, headers[HEADER_OBJECT] = b"", event_id
        lines = header_lines(headers)
        subject = self._subjects.delivery(lane_of(tenant, self._lanes), tenant, "orders")
        seq = await self._jetstream.publish(subject, payload, lines)
        given = {"class_": reason, "message": "no such cost centre", "answer": None} | problem
        letter = DeadLetter(reason, Problem(**given))
        delivery = DeliveryId(tenant, "orders", event_id, 7, seq)
        record = RetryRecord(attempts=1, first=time.time() - 1, last=time.time())
        body = dead_letter(delivery, payload, letter, record, "3f2a")
        await self._store.write(delivery, body, lines + letter_headers(letter), WriteHooks(lambda: None))
        return LetterId(tenant, "orders", seq)

    async def rebury(self, letter: LetterId) -> None:
        """As if its dead letter had been written only now."""
        stream = self._subjects.stream("DLQ")
        subject = self._subjects.dead_letter(letter.tenant, letter.route, letter.seq)
        found = await self._jetstream.last_message(stream, subject)
        assert found is not None
        await self._jetstream.purge_stream(stream, subject=subject)
        own = {name: value for name, value in found.headers.items() if name.startswith("Bridge-")}
        await self._jetstream.publish(subject, found.payload, header_lines(own))


def answered(status: int, body: Any) -> Answer:
    """What the ERP said."""
    return Answer(status, {}, body)
