"""Dead letters in the stream DLQ: one for each delivery, whoever writes it and however often (rule R10)."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from eventbus.errors import JetStreamError, NoAnswer
from eventbus.jetstream import WRONG_LAST_SEQUENCE, JetStream
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.patience import patiently
from eventbus.subjects import Subjects, lane_of
from pipeline.delivery.attempt import DeliveryId

MAX_PAUSE_S = 30.0
_ONLY_ONE = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WriteHooks:
    """check: called before every try, ends the waiting by raising; refused: called when a try found no room."""

    check: Callable[[], None]
    refused: Callable[[], None] = lambda: None


class DeadLetterStore:
    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects

    async def write(self, delivery: DeliveryId, payload: bytes, headers: bytes, hooks: WriteHooks) -> None:
        """Returns when it is stored, or was there already; while the stream is full its route stands.

        headers: lines of ours that it carries on.
        """
        subject = self._subjects.dead_letter(delivery.tenant, delivery.route, delivery.seq)

        async def publish() -> None:
            hooks.check()
            try:
                await self._jetstream.publish(subject, payload, headers + _ONLY_ONE)
            except JetStreamError as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise

        def say(error: BaseException) -> None:
            hooks.refused()
            log.error(
                "a dead letter cannot be written; its route stands until it is",
                tenant=delivery.tenant,
                route=delivery.route,
                delivery_seq=delivery.seq,
                error=str(error),
            )

        # whatever the server refuses it for, giving up would lose it
        await patiently(publish, _refused, first=1.0, longest=MAX_PAUSE_S, say=say)

    async def exists(self, tenant: str, route: str, seq: int) -> bool:
        subject = self._subjects.dead_letter(tenant, route, seq)
        return await self._jetstream.last_message(self._subjects.stream("DLQ"), subject) is not None

    async def of_route(self, tenant: str, route: str) -> list[int]:
        """The delivery sequences of all that is in the stream of this route, tombstones included."""
        prefix = self._subjects.dead_letter(tenant, route, 0).removesuffix("0")
        found: list[int] = []
        while True:
            request = {"subjects_filter": f"{prefix}*", "offset": len(found)}
            info = await self._jetstream.stream_info(self._subjects.stream("DLQ"), request)
            page = info["state"].get("subjects") if info else None
            found += [int(subject.removeprefix(prefix)) for subject in page or ()]
            if info is None or not page or len(found) >= info["total"]:
                return found

    async def of_lane(self, lane: int, lanes: int, since: float) -> list[tuple[str, int]]:
        """`tenant/route` and delivery sequence of the lane's dead letters written since (seconds since the epoch).

        Those that were dealt with since are among them.
        """
        found: list[tuple[str, int]] = []
        subject = self._subjects.all_dead_letters
        reading = Reading(self._subjects.stream("DLQ"), [subject], headers_only=True, since=since)
        async with OrderedReader(self._jetstream, reading) as reader:
            async for message in reader.what_is_there():
                tenant, route, seq = self._subjects.parse_dead_letter(message.subject)
                if lane_of(tenant, lanes) == lane:
                    found.append((f"{tenant}/{route}", seq))
        return found


def _refused(error: BaseException) -> bool:
    return isinstance(error, JetStreamError | NoAnswer)
