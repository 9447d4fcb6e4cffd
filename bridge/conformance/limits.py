"""What a connection holds to: its concurrency, the permit, no proxy of the environment."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.conformance.check import NotConforming, Trial, check, expect, expected
from bridge.conformance.kind import KEY
from bridge.demo.erp_server import Step
from connectors.protocol import Delivered

_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class _LeaseLost(Exception):
    """What a permit raises when another worker has the lane."""


@check
async def permit_is_asked_once_just_before_the_request(trial: Trial) -> None:
    """A worker that has lost its lane sends nothing."""
    heard: list[int] = []
    outcome = await trial.send(trial.connector(), permit=lambda: heard.append(trial.requests))
    expected(Delivered, outcome, "what is permitted")
    expect(heard == [0], f"permit is called once, before the ERP hears of it: {heard}")


@check
async def what_permit_raises_goes_through_and_nothing_is_sent(trial: Trial) -> None:
    connector = trial.connector(concurrency=1)

    def refuse() -> None:
        raise _LeaseLost

    try:
        outcome = await trial.send(connector, permit=refuse)
    except _LeaseLost:
        pass
    else:
        raise NotConforming(f"what permit raises goes through, and becomes no outcome: {outcome!r}")
    expect(trial.requests == 0, "nothing is sent without the permit")
    expected(Delivered, await trial.send(connector), "the next by the same connection")


@check
async def no_more_requests_at_once_than_its_concurrency(trial: Trial) -> None:
    """What waits for a connection is not permitted yet."""
    connector = trial.connector(concurrency=2)
    gate, permitted = asyncio.Event(), [0]

    def permit() -> None:
        permitted[0] += 1

    trial.erp.script([Step(hold=gate)] * 3)
    sending = [asyncio.create_task(trial.send(connector, key=f"{KEY}/{n}", permit=permit)) for n in range(3)]
    try:
        await trial.until_requests(2)
        for _ in range(5):
            await asyncio.sleep(0)
        expect(trial.requests == 2, f"two at once, not {trial.requests}")
        expect(permitted == [2], f"two are permitted, not {permitted}")
        gate.set()
        for outcome in await asyncio.gather(*sending):
            expected(Delivered, outcome, "each of them")
    finally:
        for task in sending:
            task.cancel()


@check
async def no_proxy_is_read_from_the_environment(trial: Trial) -> None:
    with _environment(dict.fromkeys(_PROXIES, "http://127.0.0.1:9")):
        expected(Delivered, await trial.once(), "a request that takes the direct way")


@contextmanager
def _environment(names: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
