"""What commands of `bridge dlq` read besides the letters: events, attempts, and the routes in force."""

from datetime import datetime
from typing import Any

import msgspec

from eventbus.event import encode_json
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectDamaged, ObjectMissing, ObjectStore
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.subjects import Subjects
from pipeline.dlq.letters import Glance, WholeLetter
from pipeline.tenants.model import Tenant
from pipeline.tenants.store import TenantStore

_AROUND_S = 60.0
"""Clocks of workers and of the server may differ."""


class LetterContext:
    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._objects = ObjectStore(jetstream, subjects.bucket("BIG_EVENTS"))
        self._store = TenantStore(jetstream, subjects)
        self._tenants: dict[str, Tenant | None] = {}

    async def event(self, whole: WholeLetter) -> bytes:
        """The event as JSON; where its object is gone, a text that says so."""
        if whole.object_name is None:
            return bytes(whole.letter.event) if whole.letter else b"null"
        try:
            return await self._objects.get(whole.object_name)
        except (ObjectMissing, ObjectDamaged) as error:
            return encode_json(str(error))

    async def attempts(self, glance: Glance, whole: WholeLetter) -> list[dict[str, Any]]:
        """The records of its attempts, as far as ATTEMPTS still has them."""
        letter = whole.letter
        if letter is None:
            return []
        began = glance.time
        if letter.first_attempt is not None:
            began = datetime.fromisoformat(letter.first_attempt).timestamp()
        found: list[dict[str, Any]] = []
        reading = Reading(
            self._subjects.stream("ATTEMPTS"),
            [self._subjects.attempt(letter.tenant, letter.route)],
            since=began - _AROUND_S,
        )
        async with OrderedReader(self._jetstream, reading) as reader:
            async for message in reader.what_is_there():
                if message.time > glance.time + _AROUND_S:
                    break
                record = msgspec.json.decode(message.payload)
                if record.get("delivery_seq") == glance.id.seq:
                    found.append(record)
        return found

    async def tenant(self, name: str) -> Tenant | None:
        """The version in force, as it was when first asked for."""
        if name not in self._tenants:
            self._tenants[name] = await self._store.get(name)
        return self._tenants[name]

    async def lives_s(self, glance: Glance, deadline_s: float) -> int:
        """How long its tombstone is to stand: a day longer than what is replayed may live."""
        tenant = await self.tenant(glance.id.tenant)
        route = tenant.routes.get(glance.id.route) if tenant else None
        of_route = route.deadline_s if route else None
        return round(deadline_s if of_route is None else of_route) + 86_400
