"""Events too big for a message: the payload goes to the object store first, the message refers to it (rule C9)."""

import msgspec
import structlog

from eventbus.errors import JetStreamError, NoAnswer
from eventbus.event import HEADER_EVENT_ID, HEADER_OBJECT
from eventbus.fence import Refusal, classify_refusal
from eventbus.group_commit import Group, Mark, Outgoing
from eventbus.objects import ObjectStore
from eventbus.patience import patiently

MARGIN = 4096
"""Below the server's `max_payload`: copies of the event carry more headers than the event's own message."""
_MAX_PAUSE = 30.0
log = structlog.get_logger()


class BigEvents:
    """Replaces big payloads. `max_payload`: the server's, in bytes."""

    def __init__(self, objects: ObjectStore, max_payload: int) -> None:
        self._objects = objects
        self._limit = max_payload - MARGIN

    def is_big(self, message: Outgoing) -> bool:
        """Whether it does not fit into a message."""
        return len(message.payload) + len(message.headers) >= self._limit

    async def put(self, group: Group[Mark]) -> Group[Mark]:
        """The group as it can be published. Waits while there is no room; raises ConnectionLost, JetStreamError."""
        if group.size < self._limit:
            return group
        small = [
            await self.small(message, _event_id(message)) if self.is_big(message) else message
            for message in group.messages
        ]
        return Group.of(small, group.mark)

    async def small(self, message: Outgoing, name: str) -> Outgoing:
        """The message, its payload put into the object `name`. Waits and raises as `put` does."""

        def say(error: BaseException) -> None:
            log.warning("waiting to store a big event", object=name, because=str(error))

        await patiently(
            lambda: self._objects.put(name, message.payload),
            _may_pass,
            first=1.0,
            longest=_MAX_PAUSE,
            say=say,
        )
        headers = message.headers + f"{HEADER_OBJECT}: {name}\r\n".encode()
        return msgspec.structs.replace(message, headers=headers, payload=b"")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, JetStreamError):
        return classify_refusal(error.err_code) is not Refusal.FOREIGN
    return isinstance(error, NoAnswer)


def _event_id(message: Outgoing) -> str:
    for line in message.headers.decode().splitlines():
        name, _, value = line.partition(": ")
        if name == HEADER_EVENT_ID:
            return value
    raise AssertionError("every event's message carries its id")
