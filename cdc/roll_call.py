"""Who captures a source, and who stands by: every running capture answers over NATS, whatever its login at PostgreSQL.

Nothing is registered that a crash could leave behind: who is gone does not answer.
"""

import asyncio
from collections.abc import Callable

import msgspec

from cdc.capture_state import Answer
from eventbus import wire
from eventbus.connection import Connection, Reply

_QUIET_S = 0.3
"""How long answers are collected: they take milliseconds."""
_OWNER_S = 2.0
"""How long the owner is waited for, which may be busy."""


async def answer_calls(connection: Connection, subject: str, tell: Callable[[], Answer]) -> None:
    """As long as the connection lasts. Raises ConnectionLost."""

    def called(_subject: bytes, reply: bytes, _headers: bytes, _payload: bytes) -> None:
        if reply and not connection.lost.is_set():
            connection.write(wire.pub(reply, b"", msgspec.json.encode(tell())))

    await connection.subscribe(subject, called)


async def call_roll(connection: Connection, subject: str, owner: int | None) -> list[Answer]:
    """Who answers; `owner`: the walsender whose capture is waited for longer. Raises ConnectionLost."""
    answers: list[Answer] = []
    came = asyncio.Event()

    def answered(reply: Reply) -> None:
        if not reply.headers:  # with them it is a status: nobody listens
            try:
                answers.append(msgspec.json.decode(reply.payload, type=Answer))
            except msgspec.DecodeError:
                return  # not one of ours
        came.set()

    mine = connection.expect(answered)
    try:
        await connection.send(wire.pub(subject.encode(), mine, b""))
        await asyncio.sleep(_QUIET_S)
        await _until(lambda: owner is None or _named(answers, owner), came)
    finally:
        connection.forget(mine)
    return answers


def _named(answers: list[Answer], owner: int) -> bool:
    return any(answer.walsender == owner for answer in answers)


async def _until(holds: Callable[[], bool], came: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_OWNER_S - _QUIET_S):
            while not holds():
                came.clear()
                await came.wait()
    except TimeoutError:
        pass
