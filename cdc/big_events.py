"""Events too big for a message: the payload goes to the object store first, the message refers to it (rule C9)."""

import asyncio

import msgspec
import structlog

from cdc.position import Mark
from eventbus.errors import JetStreamError, NoAnswer
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.fence import Refusal, classify_refusal
from eventbus.group_commit import Group, Outgoing
from eventbus.objects import ObjectStore

MARGIN = 4096
"""Below the server's `max_payload`: copies of the event carry more headers than the event's own message."""
_MAX_PAUSE = 30.0
log = structlog.get_logger()


class BigEvents:
    """Replaces big payloads. `max_payload`: the server's, in bytes."""

    def __init__(self, objects: ObjectStore, max_payload: int) -> None:
        self._objects = objects
        self._limit = max_payload - MARGIN

    async def put(self, group: Group[Mark]) -> Group[Mark]:
        """The group as it can be published. Waits while there is no room; raises ConnectionLost, JetStreamError."""
        if group.size < self._limit:
            return group
        return Group.of([await self._small(message) for message in group.messages], group.mark)

    async def _small(self, message: Outgoing) -> Outgoing:
        if len(message.payload) + len(message.headers) < self._limit:
            return message
        event_id = _event_id(message)
        pause = 1.0
        while True:
            try:
                await self._objects.put(event_id, message.payload)
                break
            except NoAnswer as error:
                log.warning("waiting to store a big event", event_id=event_id, because=str(error))
            except JetStreamError as error:
                if classify_refusal(error.err_code) is Refusal.FOREIGN:
                    raise
                log.warning("waiting to store a big event", event_id=event_id, because=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)
        headers = message.headers + f"{HEADER_OBJECT}: {event_id}\r\n".encode()
        return msgspec.structs.replace(message, headers=headers, payload=b"")


def _event_id(message: Outgoing) -> str:
    for line in message.headers.decode().splitlines():
        name, _, value = line.partition(": ")
        if name == HEADER_EVENT_ID:
            return value
    raise AssertionError("every event's message carries its id")
