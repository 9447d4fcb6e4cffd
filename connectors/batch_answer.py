"""What an OData server answers to a `$batch` that is one change set, and what that means. Pure.

A change set that failed has one answer (OData 2), or, in a JSON batch, one for each request, of which those that had to fail
with it are 424 (OData 4.01, 11.7.7.5).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from connectors.answers import read_answer
from connectors.classification import classify
from connectors.multipart_answer import boundary_of
from connectors.odata_batch import BatchPrepared
from connectors.protocol import Answer, Delivered, Outcome, Rejected, Uncertain

_FAILED_WITH_ANOTHER = 424
_EMPTY_LINE = re.compile(r"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/\d(?:\.\d)? (\d{3})\b")
_DEEPEST = 2


class BatchUnread(ValueError):
    """It is no answer to a batch, or not the whole of one."""


def classify_batch(answer: Answer, prepared: BatchPrepared, now: datetime) -> Outcome:
    """Delivered: every request is, and the answer's body is `{responses: [{status, headers, body}, …]}`. Else the outcome
    of the one that failed, with its own answer. now: as `classify`.
    """
    if not _is_good(answer):
        return classify(answer, now)
    try:
        parts = list(_parts_of(answer))
    except BatchUnread as error:
        # without the answer: its 2xx says nothing, and a mapping's `ok` would take it for a word on the requests
        return Uncertain(f"HTTP {answer.status}, but the answers of the batch cannot be read: {error}")
    whole = replace(answer, body={"responses": [_shown(part) for part in parts]})
    bad = [part for part in parts if not _is_good(part)]
    if not bad:
        if len(parts) == prepared.requests:
            return Delivered(whole)
        return Uncertain(f"{len(parts)} answers to the {prepared.requests} requests of a batch")
    blamed = next((part for part in bad if part.status != _FAILED_WITH_ANOTHER), bad[0])
    outcome = classify(blamed, now)
    message = f"in the batch: {outcome.message}"
    if len(bad) < len(parts) and not prepared.one and not isinstance(outcome, Rejected):
        # a change set is undone as a whole, but who says "done" of a part is not sent that again on trust
        told = replace(whole, status=blamed.status)
        return Uncertain(f"{message} (the server says of other parts that they are done)", told, "partial")
    return replace(outcome, message=message)


def _is_good(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _shown(part: Answer) -> dict[str, Any]:
    return {"status": part.status, "headers": dict(part.headers), "body": part.body}


def _parts_of(answer: Answer) -> Iterator[Answer]:
    """Raises BatchUnread."""
    if answer.truncated:
        raise BatchUnread("they are larger than what is read")
    if isinstance(answer.body, Mapping) and isinstance(answer.body.get("responses"), list):
        for member in answer.body["responses"]:
            yield _of_json(member)
    elif isinstance(answer.body, str):
        for part in _sections(answer.body, answer.headers.get("content-type", ""), _DEEPEST):
            yield _of_http(part)
    else:
        raise BatchUnread("they are neither multipart/mixed nor a JSON batch")


def _of_json(member: Any) -> Answer:
    if not isinstance(member, Mapping) or not isinstance(member.get("status"), int):
        raise BatchUnread("one of them has no status")
    headers = member.get("headers")
    pairs = headers.items() if isinstance(headers, Mapping) else ()
    named = read_answer(0, [(name.lower(), str(value)) for name, value in pairs], b"", truncated=False)
    return Answer(member["status"], named.headers, member.get("body"))


@dataclass(frozen=True, slots=True)
class _Section:
    headers: Mapping[str, str]
    content: str


def _sections(text: str, content_type: str, depth: int) -> Iterator[_Section]:
    """The innermost ones of a multipart text (RFC 2046, 5.1.1). Raises BatchUnread."""
    boundary = boundary_of(content_type)
    if boundary is None or depth == 0:
        raise BatchUnread("they are neither multipart/mixed nor a JSON batch")
    delimiter = re.compile(rf"(?:^|\n)--{re.escape(boundary)}(--)?[ \t]*\r?(?:\n|$)")
    marks = list(delimiter.finditer(text))
    if not any(mark[1] for mark in marks):
        raise BatchUnread("their end is missing")
    for begin, end in pairwise(marks):
        if begin[1]:
            return
        # the line's end before a delimiter belongs to that
        section = _section(text[begin.end() : end.start()].removesuffix("\r"))
        kind = section.headers.get("content-type", "")
        if kind.lower().startswith("multipart/"):
            yield from _sections(section.content, kind, depth - 1)
        else:
            yield section


def _section(text: str) -> _Section:
    """Headers, an empty line, content; no headers where the text begins with that line."""
    if text.startswith(("\n", "\r\n")):
        return _Section({}, text.partition("\n")[2])
    head, *rest = _EMPTY_LINE.split(text, maxsplit=1)
    pairs = (line.partition(":") for line in head.splitlines())
    headers = {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
    return _Section(headers, rest[0] if rest else "")


def _of_http(section: _Section) -> Answer:
    line, _, rest = section.content.lstrip().partition("\n")
    status = _STATUS_LINE.match(line)
    if status is None:
        raise BatchUnread("one of them has no status line")
    inner = _section(rest)
    content = inner.content.encode("utf-8", "replace")
    return read_answer(int(status[1]), inner.headers.items(), content, truncated=False)
