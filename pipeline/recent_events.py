"""The last events that a route wants, whenever they came: for previews."""

import secrets
from collections.abc import Sequence
from typing import Any

from eventbus.event import HEADER_OBJECT, decode_event
from eventbus.jetstream import JetStream
from eventbus.message import Message
from eventbus.objects import ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.subjects import Subjects
from eventbus.tokens import NO_TENANT, UNKNOWN_TENANT, escape, tenant_token
from pipeline.tenants.model import Route


class RecentEvents:
    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._stream = subjects.stream("EVENTS")
        self._objects = ObjectStore(jetstream, subjects.bucket("BIG_EVENTS"))
        self._prefix = subjects.prefix

    async def of(self, route: Route, key: str, count: int) -> list[dict[str, Any]]:
        """At most `count`, oldest first. key: the tenant's. Raises EventInvalid, ObjectMissing, ObjectDamaged, and as JetStream does."""
        wanted = self._subjects(route, key)
        start = await self._start(wanted, count)
        async with OrderedReader(self._jetstream, Reading(self._stream, wanted, start)) as reader:
            found = [message async for message in reader.what_is_there()]
        return [await self._event(message) for message in found[-count:]]

    def _subjects(self, route: Route, key: str) -> Sequence[str]:
        schema, _, table = route.source.table.partition(".")
        tokens = [tenant_token(key), *((NO_TENANT, UNKNOWN_TENANT) if route.source.tenant_any else ())]
        return [
            f"{self._prefix}events.*.{token}.{escape(schema)}.{escape(table)}.{operation}"
            for token in tokens
            for operation in route.source.operations
        ]

    async def _start(self, wanted: Sequence[str], count: int) -> int:
        """From where on there are so many, and few more: a stream cannot be read backwards."""
        info = await self._jetstream.stream_info(self._stream)
        assert info is not None
        first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
        while first < last:
            middle = (first + last + 1) // 2
            if await self._from(middle, wanted) >= count:
                first = middle
            else:
                last = middle - 1
        return first

    async def _from(self, start: int, wanted: Sequence[str]) -> int:
        name = f"count-{secrets.token_hex(8)}"
        config = {
            "name": name,
            "filter_subjects": list(wanted),
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 10 * 10**9,
        }
        info = await self._jetstream.create_consumer(self._stream, config)
        await self._jetstream.delete_consumer(self._stream, name)
        return int(info["num_pending"])

    async def _event(self, message: Message) -> dict[str, Any]:
        name = message.headers.get(HEADER_OBJECT)
        return decode_event(message.payload if name is None else await self._objects.get(name))
