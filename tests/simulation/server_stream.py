"""A real stream behind the model's doors, so that both can be asked the same."""

import json

from eventbus import wire
from eventbus.connection import Connection, Reply
from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from tests.simulation.jetstream_model import Draft


class ServerStream:
    """The model's doors on a real stream."""

    def __init__(self, connection: Connection, name: str, prefix: str) -> None:
        self.jetstream = JetStream(connection)
        self.name = name
        self.prefix = prefix

    async def create(self, capacity: int = -1) -> None:
        await self.jetstream.create_stream(
            {
                "name": self.name,
                "subjects": [f"{self.prefix}.>"],
                "storage": "file",
                "allow_atomic": True,
                "allow_rollup_hdrs": True,
                "allow_msg_ttl": True,
                "max_msgs": capacity,
                "discard": "new",
            }
        )

    async def publish(self, draft: Draft, batch: str = "", number: int = 0, *, last: bool = False) -> int:
        headers: dict[str, str] = {}
        if number:
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        if number and last:
            headers["Nats-Batch-Commit"] = "1"
        if draft.expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(draft.expected)
        if draft.of:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = f"{self.prefix}.{draft.of}"
        if draft.rollup:
            headers["Nats-Rollup"] = "sub"
        if not draft.lasts:
            headers["Nats-TTL"] = "1s"
        subject = f"{self.prefix}.{draft.subject}"
        if number and not last:
            reply = await self.jetstream.connection.request(
                subject, draft.payload, wire.header_lines(headers)
            )
            return -_code(reply)
        try:
            return await self.jetstream.publish(subject, draft.payload, wire.header_lines(headers))
        except JetStreamError as error:
            return -error.err_code

    async def purge(self, pattern: str, below: int) -> None:
        await self.jetstream.purge_stream(self.name, subject=f"{self.prefix}.{pattern}", below=below)

    async def contents(self) -> list[tuple[int, str, bytes]]:
        found, start = [], 1
        while message := await self.jetstream.next_message(self.name, f"{self.prefix}.>", start):
            found.append((message.seq, message.subject.removeprefix(f"{self.prefix}."), message.payload))
            start = message.seq + 1
        return found


def _code(reply: Reply) -> int:
    return int(json.loads(reply.payload)["error"]["err_code"]) if reply.payload else 0
