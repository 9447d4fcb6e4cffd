"""What is written down about each attempt: one record in ATTEMPTS and one log line, the same members. Pure.

Structure only: never a column's value, a request or an answer's body.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never

from connectors.protocol import Delivered, Outcome, Rejected, RetryLater, Throttled, Unavailable, Uncertain
from pipeline.delivery.disposition import Ack, DeadLetter, Disposition, Hold, Next, RetryAt

MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class DeliveryId:
    """Which delivery: names of tenant and route, sequences in EVENTS and DELIVERIES, the event's id.

    new_key: of a replay whose Idempotency-Key is another than before; else empty.
    first: of a replay, the sequence of the first delivery, whose finished steps are not sent again; else 0.
    """

    tenant: str
    route: str
    event_id: str
    event_seq: int
    seq: int
    new_key: str = ""
    first: int = 0

    @property
    def full_route(self) -> str:
        """`tenant/route`."""
        return f"{self.tenant}/{self.route}"

    @property
    def text(self) -> str:
        """The `Idempotency-Key` of all its attempts."""
        # an @ is in no route's name, and steps are added behind a slash
        end = f"@{self.new_key}" if self.new_key else ""
        return f"{self.event_id}/{self.tenant}/{self.route}{end}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. outcome None: it failed before anything was sent. Times in seconds since the epoch.

    step: whose request it was, where the mapping has several; lookup: it asked whether that had arrived.
    """

    delivery: DeliveryId
    number: int
    outcome: Outcome | None
    disposition: Disposition
    began: float
    ended: float
    mapping_version: str
    worker: str
    step: str = ""
    lookup: bool = False


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    """The payload of `attempts.<tenant>.<route>`."""
    delivery, outcome = attempt.delivery, attempt.outcome
    record: dict[str, Any] = {
        "delivery_id": delivery.text,
        "tenant": delivery.tenant,
        "route": delivery.route,
        "event_id": delivery.event_id,
        "event_seq": delivery.event_seq,
        "delivery_seq": delivery.seq,
        "attempt": attempt.number,
        "began": moment(attempt.began),
        "ms": round((attempt.ended - attempt.began) * 1000),
        "outcome": outcome_name(outcome),
        "status": outcome.answer.status if outcome and outcome.answer else None,
    }
    record |= {"step": attempt.step} if attempt.step else {}
    record |= {"lookup": True} if attempt.lookup else {}
    record |= _disposition(attempt.disposition)
    if outcome is not None and outcome.message:
        record["message"] = outcome.message[:MESSAGE_LENGTH]
    return record | {"mapping_version": attempt.mapping_version, "worker": attempt.worker}


def outcome_name(outcome: Outcome | None) -> str:
    match outcome:
        case None:
            return "not_sent"
        case Delivered():
            return "delivered"
        case Rejected():
            return "rejected"
        case RetryLater():
            return "retry_later"
        case Throttled():
            return "throttled"
        case Unavailable():
            return "unavailable"
        case Uncertain():
            return "uncertain"
        case _:
            assert_never(outcome)


def _disposition(disposition: Disposition) -> dict[str, Any]:
    match disposition:
        case Ack():
            return {"then": "ack"}
        case Next():
            return {"then": "next"}
        case RetryAt(due):
            return {"then": "retry", "due": moment(due)}
        case Hold(due, why):
            message = {"message": why[:MESSAGE_LENGTH]} if why else {}
            return {"then": "hold", "due": moment(due)} | message
        case DeadLetter(reason, problem):
            return {
                "then": "dead_letter",
                "reason": reason,
                "class": problem.class_,
                "message": problem.message[:MESSAGE_LENGTH],
            }
        case _:
            assert_never(disposition)


def moment(at: float) -> str:
    """Seconds since the epoch as `2026-11-24T03:28:19.832Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
