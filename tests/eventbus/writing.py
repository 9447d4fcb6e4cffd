"""A writer of numbered messages, as simple as one can be."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from eventbus import wire
from eventbus.connection import Connection
from eventbus.fence import FenceMark
from eventbus.fenced_writer import FencedWriter
from eventbus.group_commit import Committed, Group, OrderKey, Outgoing
from eventbus.jetstream import JetStream
from eventbus.ordered_reader import OrderedReader, Reading
from eventbus.position import Place

PAYLOAD = b"x" * 345


def place(namespace: str = "") -> Place:
    prefix = f"{namespace}." if namespace else ""
    stream = f"{namespace}-EVENTS" if namespace else "EVENTS"
    return Place(stream, f"{prefix}position.s", f"{prefix}events.s.>", "c-")


async def make_stream(jetstream: JetStream, where: Place, max_bytes: int = 64 * 2**20) -> None:
    prefix = where.look.removesuffix("events.s.>")
    await jetstream.create_stream(
        {
            "name": where.stream,
            "subjects": [f"{prefix}events.>", f"{prefix}position.*"],
            "storage": "file",
            "max_bytes": max_bytes,
            "discard": "new",
            "allow_atomic": True,
            "allow_rollup_hdrs": True,
        }
    )


def encode(mark: int, fence: FenceMark) -> bytes:
    return json.dumps(
        {"key": mark, "token": fence.token, "claim": fence.claim, "scan_from": fence.scan_from}
    ).encode()


def key_of(headers: Mapping[str, str]) -> OrderKey:
    return (int(headers["Bridge-Event-Id"]),)


def message(number: int, where: Place, payload: bytes = PAYLOAD) -> Outgoing:
    subject = where.look.removesuffix(">").encode() + b"1.public.t.insert"
    return Outgoing(subject, b"Bridge-Event-Id: %d\r\n" % number, payload, (number,))


def group(first: int, last: int, where: Place) -> Group[int]:
    return Group.of([message(number, where) for number in range(first, last + 1)], last)


def writer(connection: Connection, where: Place, committed: list[Committed[int]]) -> FencedWriter[int]:
    return FencedWriter(connection, where, encode=encode, key_of=key_of, committed=committed.append)


async def stored_numbers(jetstream: JetStream, where: Place) -> list[int]:
    """The numbers of all messages, in the order of the stream."""
    numbers: list[int] = []
    reading = Reading(where.stream, [where.look], headers_only=True)
    async with OrderedReader(jetstream, reading) as reader:
        while len(numbers) < reader.waiting:
            numbers += [int(message.headers["Bridge-Event-Id"]) for message in await reader.next()]
    return numbers


def torn_headers(batch: str, sequence: int, number: int) -> bytes:
    """The headers that a message of a torn batch has."""
    headers: dict[str, Any] = {
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(sequence),
        "Bridge-Event-Id": str(number),
    }
    return wire.header_lines(headers)


def reached(payload: bytes) -> int:
    """The mark in a position's payload; 0 where there is no position."""
    return int(json.loads(payload)["key"]) if payload else 0


async def until(holds: Callable[[], bool], within: float = 20.0) -> None:
    """For what offers no signal to wait for."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.002)
