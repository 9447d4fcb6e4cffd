"""Requests to JetStream as raw JSON: nats-py's own config classes drop fields they do not know.

Every request has a deadline. Raises JetStreamError where the server says no, NoAnswer where it says nothing, and
ConnectionLost. API: NATS documentation, "JetStream wire API".
"""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eventbus import wire
from eventbus.connection import REQUEST_TIMEOUT_S, Connection, Reply
from eventbus.errors import JetStreamError

STREAM_NOT_FOUND = 10059
MESSAGE_NOT_FOUND = 10037
SEQUENCE_NOT_FOUND = 10043
CONSUMER_NOT_FOUND = 10014
WRONG_LAST_SEQUENCE = 10071


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the stream's leader has it. time: when it was stored, RFC 3339."""

    subject: str
    seq: int
    headers: dict[str, str]
    payload: bytes
    time: str = ""


class JetStream:
    """JetStream on one connection."""

    def __init__(self, connection: Connection, within: float = REQUEST_TIMEOUT_S) -> None:
        """`within`: seconds for each request."""
        self.connection = connection
        self._within = within

    async def call(self, api: str, request: object = None) -> dict[str, Any]:
        """One request to `$JS.API.<api>`; the answer without its error."""
        body = b"" if request is None else json.dumps(request).encode()
        reply = await self.connection.request(f"$JS.API.{api}", body, within=self._within)
        return _answer(api, reply)

    async def publish(self, subject: str, payload: bytes, headers: bytes = b"") -> int:
        """Stores one message, `headers` as whole lines; its sequence, once the stream has acknowledged it."""
        reply = await self.connection.request(subject, payload, headers, within=self._within)
        return int(_answer(f"publish to {subject}", reply)["seq"])

    async def stream_info(self, stream: str, request: object = None) -> dict[str, Any] | None:
        """Config and state; None where there is no such stream."""
        try:
            return await self.call(f"STREAM.INFO.{stream}", request)
        except JetStreamError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return None

    async def create_stream(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.CREATE.{config['name']}", config)

    async def update_stream(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.UPDATE.{config['name']}", config)

    async def purge_stream(self, stream: str, *, subject: str, below: int = 0) -> int:
        """Deletes what `subject` matches below sequence `below` (0: all of it); how many there were."""
        request = {"filter": subject} | ({"seq": below} if below else {})
        return int((await self.call(f"STREAM.PURGE.{stream}", request))["purged"])

    async def delete_message(self, stream: str, seq: int) -> bool:
        """Deletes one message, without a purge's search; whether it was there."""
        try:
            await self.call(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except JetStreamError as error:
            if error.err_code not in (MESSAGE_NOT_FOUND, SEQUENCE_NOT_FOUND):
                raise
            return False
        return True

    async def message(self, stream: str, seq: int) -> StoredMessage | None:
        """The message at a sequence, through the leader; None where there is none."""
        return await self._message(stream, {"seq": seq})

    async def last_message(self, stream: str, subject: str) -> StoredMessage | None:
        """The last message of a subject (or wildcard), through the leader."""
        return await self._message(stream, {"last_by_subj": subject})

    async def next_message(self, stream: str, subject: str, start: int) -> StoredMessage | None:
        """The first message of a subject (or wildcard) from sequence `start` on, through the leader."""
        return await self._message(stream, {"seq": start, "next_by_subj": subject})

    async def first_since(self, stream: str, subject: str, since: float) -> StoredMessage | None:
        """The first message of a subject (or wildcard) stored since (seconds since the epoch), through the leader."""
        moment = datetime.fromtimestamp(max(0.0, since), UTC).isoformat()
        return await self._message(stream, {"next_by_subj": subject, "start_time": moment})

    async def create_consumer(
        self, stream: str, config: dict[str, Any], *, action: str = "create"
    ) -> dict[str, Any]:
        """`action`: `create` (10148 where it exists with other settings), `update` (10149 where it does not)."""
        request = {"stream_name": stream, "config": config, "action": action}
        return await self.call(f"CONSUMER.CREATE.{stream}.{config['name']}", request)

    async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any] | None:
        """None where there is no such consumer. Not for polling: it costs the server much."""
        try:
            return await self.call(f"CONSUMER.INFO.{stream}.{consumer}")
        except JetStreamError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            return None

    async def consumer_names(self, stream: str) -> list[str]:
        """All of a stream's consumers."""
        names: list[str] = []
        total = 1
        while len(names) < total:
            page = await self.call(f"CONSUMER.NAMES.{stream}", {"offset": len(names)})
            total = page["total"]
            names += page["consumers"] or []
            if not page["consumers"]:
                break
        return names

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """What `consumer_info` says, of all of them. Not for polling."""
        found: list[dict[str, Any]] = []
        total = 1
        while len(found) < total:
            page = await self.call(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            total = page["total"] if page["consumers"] else 0
            found += page["consumers"] or []
        return found

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """Whether there was one."""
        try:
            await self.call(f"CONSUMER.DELETE.{stream}.{consumer}")
        except JetStreamError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            return False
        return True

    async def unpin(self, stream: str, consumer: str, group: str) -> None:
        """Takes the pin from whoever has it: only its owner does that, on leaving."""
        await self.call(f"CONSUMER.UNPIN.{stream}.{consumer}", {"group": group})

    async def _message(self, stream: str, request: dict[str, Any]) -> StoredMessage | None:
        try:
            found = (await self.call(f"STREAM.MSG.GET.{stream}", request))["message"]
        except JetStreamError as error:
            if error.err_code != MESSAGE_NOT_FOUND:
                raise
            return None
        return StoredMessage(
            subject=found["subject"],
            seq=found["seq"],
            headers=wire.parse_headers(base64.b64decode(found.get("hdrs", ""))),
            payload=base64.b64decode(found.get("data", "")),
            time=found.get("time", ""),
        )


def _answer(what: str, reply: Reply) -> dict[str, Any]:
    refusal = refusal_of(what, reply)
    if refusal is not None:
        raise refusal
    answer: dict[str, Any] = json.loads(reply.payload)
    return answer


def refusal_of(what: str, reply: Reply) -> JetStreamError | None:
    """The error in an answer of JetStream, None where it is none."""
    if status := wire.status_of(reply.headers) if reply.headers else 0:
        return JetStreamError(what, status, status, wire.status_text(reply.headers) or "nobody answers there")
    error = json.loads(reply.payload).get("error") if reply.payload else None
    if error is None:
        return None
    return JetStreamError(what, error.get("code", 0), error.get("err_code", 0), error.get("description", ""))
