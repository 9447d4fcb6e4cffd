"""The simulated ERPs, asked by a plain HTTP client: they behave as documented and log what they did."""

import asyncio

import aiohttp
import pytest

from bridge.demo import erp_plain
from bridge.demo.erp_plain import PlainErp
from bridge.demo.erp_server import Reply, Step
from tests.demo.asking import ask

PLAIN_AUTH = {"Authorization": f"Bearer {erp_plain.TOKEN}"}


async def test_plain_remembers_the_key_even_of_an_answer_that_was_lost() -> None:
    headers = PLAIN_AUTH | {"Idempotency-Key": "k1"}
    async with PlainErp(cut_every=1) as plain:
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(plain, "POST", "/api/requests", headers, {"text": "#1 x"})
        status, answered, body = await ask(plain, "POST", "/api/requests", headers, {"text": "#1 x"})
        assert (status, answered["Idempotent-Replayed"]) == (201, "true")
        assert [effect.key for effect in plain.effects] == [body["id"]]


async def test_plain_puts_by_key_and_refuses_what_is_no_document() -> None:
    async with PlainErp() as plain:
        statuses = [
            (await ask(plain, "PUT", "/api/things/a%2Fb", PLAIN_AUTH, body))[0]
            for body in ({"n": 1}, {"n": 2}, {"n": 2}, [1])
        ]
        assert statuses == [201, 200, 200, 422]
        assert [(effect.action, effect.key) for effect in plain.effects] == [
            ("created", "a/b"),
            ("updated", "a/b"),
        ]


async def test_plain_deletes_once() -> None:
    async with PlainErp() as plain:
        await ask(plain, "PUT", "/api/things/1", PLAIN_AUTH, {"n": 1})
        assert [(await ask(plain, "DELETE", "/api/things/1", PLAIN_AUTH))[0] for _ in range(2)] == [204, 204]
        assert [effect.action for effect in plain.effects] == ["created", "deleted"]


async def test_down_refuses_and_up_listens_on_the_same_port() -> None:
    async with PlainErp() as plain:
        port = plain.port
        await plain.down()
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        await plain.up()
        assert plain.port == port
        plain.unavailable()
        status, headers, _ = await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        assert (status, headers["Retry-After"]) == (503, "1")
        await plain.up()
        assert (await ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))[0] == 201


async def test_a_script_is_played_one_step_a_request() -> None:
    async with PlainErp() as plain:
        let_go = asyncio.Event()
        plain.script([Step(reply=Reply(500, "broken")), Step(hold=let_go), Step(cut="before")])
        assert (await ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))[::2] == (500, "broken")
        held = asyncio.create_task(ask(plain, "POST", "/api/things", PLAIN_AUTH, {}))
        await plain.until(lambda: len(plain.calls) == 2)
        assert plain.effects == []
        let_go.set()
        assert (await held)[0] == 201
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(plain, "POST", "/api/things", PLAIN_AUTH, {})
        assert len(plain.effects) == 1


async def test_until_gives_up() -> None:
    async with PlainErp() as plain:
        with pytest.raises(TimeoutError):
            await plain.until(lambda: False, timeout_s=0.01)
