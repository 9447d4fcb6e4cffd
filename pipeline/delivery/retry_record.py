"""What is kept of a delivery that is not done, so that the next owner goes on where this one was (rules R1, R14). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from connectors.protocol import Answer
from eventbus.event import encode_json

Intent = Literal["started", "unsure", "done"]

ANSWER_BYTES = 64 * 2**10
ANSWERS_BYTES = 512 * 2**10
"""Of all answers together: a record is one message, and a server takes a megabyte."""
_SECRET_HEADERS = frozenset({"set-cookie", "set-cookie2"})


class RetryRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bucket RETRY keeps of a delivery, so that the next owner goes on counting.

    attempts: spent; first, last, due: seconds since the epoch. intent, for what must not simply be repeated: `started`
    before it is sent, or `unsure` where the mapping says how to look it up, `done` once the ERP has it; step: whose
    request. answers: by step, of those that are finished, without their cookies; "" is a mapping's only request. finds:
    likewise, of lookups that found a step's request finished. of: which delivery wrote it, where a replay goes on with it.
    """

    attempts: int = 0
    first: float | None = None
    last: float | None = None
    due: float | None = None
    intent: Intent | None = None
    step: str = ""
    answers: dict[str, Answer] = {}
    finds: dict[str, Answer] = {}
    of: int = 0

    @property
    def unsure(self) -> frozenset[str]:
        """The steps that may have arrived, and those that were found."""
        return frozenset([*self.finds, self.step] if self.intent == "unsure" else self.finds)

    @property
    def for_replay(self) -> "RetryRecord | None":
        """What a replay has to know, None where that is nothing."""
        unsure = self.intent == "unsure"
        if not (self.answers or self.finds or unsure):
            return None
        intent: Intent | None = "unsure" if unsure else None
        return RetryRecord(
            intent=intent, step=self.step if unsure else "", answers=self.answers, finds=self.finds
        )


_FRESH = RetryRecord()


@dataclass(frozen=True, slots=True)
class Known:
    """A record and its revision in the bucket; 0: it is not there, as far as we know."""

    record: RetryRecord = _FRESH
    revision: int = 0


SETTLED_BEFORE = Known(RetryRecord(intent="done"))
"""Of what was settled, or is a dead letter, and came once more: its keys wait until that is confirmed again. Else the
next owner, who does not know it, could send it behind what has followed.
"""


def started(record: RetryRecord, step: str, *, looked_up: bool) -> RetryRecord:
    """Before a request is sent that must not simply be repeated."""
    intent: Intent = "unsure" if looked_up else "started"
    return msgspec.structs.replace(record, intent=intent, step=step, due=None)


def spent(record: RetryRecord, now: float, due: float | None, *, keeps: bool = False) -> RetryRecord:
    """After an attempt. keeps: its request, looked up before it is repeated, may have arrived."""
    intent = record.intent if keeps else None
    return msgspec.structs.replace(
        record,
        attempts=record.attempts + 1,
        first=now if record.first is None else record.first,
        last=now,
        due=due,
        intent=intent,
        step=record.step if intent else "",
    )


def unspent(record: RetryRecord) -> RetryRecord:
    """Nothing was processed."""
    return msgspec.structs.replace(record, intent=None, step="")


def finished(record: RetryRecord, step: str, answer: Answer | None, *, found: bool = False) -> RetryRecord:
    """The step's request is delivered: it is not sent again. found: so says a lookup, whose answer this is."""
    kept = _kept(answer or Answer(0, {}, None), [*record.answers.values(), *record.finds.values()])
    more = {"finds": {**record.finds, step: kept}} if found else {"answers": {**record.answers, step: kept}}
    return msgspec.structs.replace(record, intent=None, step="", due=None, **more)


def _kept(answer: Answer, others: Iterable[Answer]) -> Answer:
    """What later requests may read. Of one that is too large only the status, for that it was there must not be lost."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _SECRET_HEADERS}
    size = len(encode_json([headers, answer.body]))
    if size > ANSWER_BYTES or size + sum(len(encode_json(other.body)) for other in others) > ANSWERS_BYTES:
        return Answer(answer.status, {}, None, truncated=True)
    return Answer(answer.status, headers, answer.body, answer.truncated)
