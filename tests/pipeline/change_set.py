"""A change set in an OData `$batch`, as an ERP takes it: all of its requests, or none.

Read by the standard library's MIME parser, so that what the connector writes is read by somebody else. Simpler than OData:
one change set and no reads, `multipart/mixed` alone.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from email import message_from_string
from email.message import Message
from typing import Any

from bridge.demo.erp_server import Call, Reply

_ANSWER = {"Content-Type": "multipart/mixed; boundary=ejjeeffe0"}


@dataclass(frozen=True, slots=True)
class Change:
    """One request of the change set. content_id: what those behind it call it by, as `$1`. headers: in lower case."""

    content_id: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: Any


def carried_out(call: Call, do: Callable[[Change], Reply], undo: Callable[[], None]) -> Reply:
    """The answer to a `$batch`. do: one of its changes; undo: all that were done, since one failed."""
    try:
        changes = list(_changes(call))
    except (ValueError, TypeError) as error:
        return Reply(400, {"error": {"code": "/IWFND/CM_BEC/001", "message": f"Malformed batch: {error}"}})
    replies = []
    for change in changes:
        reply = do(change)
        if reply.status >= 400:
            undo()
            return Reply(202, _multipart([_part(reply)]), _ANSWER)
        replies.append(_part(reply))
    inner = _multipart(replies, "ejjeeffe1")
    return Reply(
        202, _multipart([f"Content-Type: multipart/mixed; boundary=ejjeeffe1\r\n\r\n{inner}"]), _ANSWER
    )


def _changes(call: Call) -> Iterator[Change]:
    """Raises ValueError."""
    whole = message_from_string(f"Content-Type: {call.headers.get('content-type', '')}\n\n{call.body}")
    sets = [part for part in whole.walk() if part.get_content_type() == "multipart/mixed"][1:]
    if len(sets) != 1 or not sets[0].is_multipart():
        raise ValueError(f"{len(sets)} change sets, where this simulator takes one")
    for part in sets[0].walk():
        if part.get_content_type() == "application/http":
            yield _change(part)


def _change(part: Message) -> Change:
    line, _, rest = str(part.get_payload()).partition("\n")
    method, target, version = line.split(" ")
    if not version.startswith("HTTP/1"):
        raise ValueError(f"{line!r} is no request line")
    request = message_from_string(rest)
    text = str(request.get_payload()).strip()
    body = json.loads(text, parse_float=Decimal) if text else None
    headers = {name.lower(): value for name, value in request.items()}
    return Change(str(part["content-id"]), method, target, headers, body)


def _part(reply: Reply) -> str:
    text = "" if reply.body is None else json.dumps(reply.body)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(text)), **reply.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    http = f"HTTP/1.1 {reply.status} \r\n{head}\r\n{text}"
    return f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{http}"


def _multipart(parts: Sequence[str], boundary: str = "ejjeeffe0") -> str:
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
