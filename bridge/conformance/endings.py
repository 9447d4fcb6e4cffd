"""How an exchange ends that does not end well: nobody there, an answer cut, late or torn, a send that is cancelled."""

import asyncio
from contextlib import suppress

from bridge.conformance.check import NotConforming, Trial, check, expect, expected
from bridge.demo.erp_server import Step
from connectors.egress import EgressPolicy
from connectors.protocol import Delivered, Unavailable, Uncertain

_SHORT_S = 0.25
_ENDED_S = 1.0


@check
async def unavailable_when_it_refuses_and_back_when_it_listens(trial: Trial) -> None:
    """By the same connection."""
    connector = trial.connector()
    expected(Delivered, await trial.send(connector), "the first")
    await trial.erp.down()
    permitted = []
    down = await trial.send(connector, key="down", permit=lambda: permitted.append(1))
    outcome = expected(Unavailable, down, "an ERP that refuses connections")
    expect(outcome.code == "refused", f"its code is 'refused', not {outcome.code!r}")
    expect(not permitted, "permit is asked once there is a connection, not before")
    await trial.erp.up()
    expected(Delivered, await trial.send(connector, key="up"), "an ERP that is back")


@check
async def an_endpoint_that_the_operator_does_not_allow_is_not_reached(trial: Trial) -> None:
    """Every way to the network goes through the egress guard."""
    outcome = expected(Unavailable, await trial.once(egress=EgressPolicy()), "an address that is not allowed")
    expect(outcome.code == "egress", f"its code is 'egress', not {outcome.code!r}")
    expect(trial.erp.calls == [], "the ERP hears nothing")


@check
async def an_endpoint_that_does_not_speak_tls_is_not_told_anything(trial: Trial) -> None:
    """Where https is written, nothing goes out in the clear."""
    secure = trial.settings().base_url.replace("http://", "https://", 1)
    expected(Unavailable, await trial.once(base_url=secure), "an endpoint without TLS")
    expect(trial.erp.calls == [], "the ERP hears nothing")


@check
async def uncertain_when_the_answer_is_cut_before_it_did_anything(trial: Trial) -> None:
    trial.erp.script([Step(cut="before")])
    _check_uncertain(trial, await trial.once(), effects=0)


@check
async def uncertain_when_the_answer_is_cut_after_it_did_it(trial: Trial) -> None:
    """It is not sent again by the connector: whether it may be is the mapping's word."""
    trial.erp.script([Step(cut="after")])
    _check_uncertain(trial, await trial.once(), effects=1)


@check
async def uncertain_when_the_answer_is_torn(trial: Trial) -> None:
    trial.erp.script([Step(cut="within")])
    _check_uncertain(trial, await trial.once(), effects=1)


@check
async def uncertain_when_the_answer_does_not_come_in_time(trial: Trial) -> None:
    trial.erp.script([Step(hold=asyncio.Event())])
    _check_uncertain(trial, await trial.once(timeout_s=_SHORT_S), effects=0)


@check
async def uncertain_when_the_answer_does_not_end_in_time(trial: Trial) -> None:
    """Its head comes, and half of its body: the timeout is to its last byte."""
    trial.erp.script([Step(within=asyncio.Event())])
    _check_uncertain(trial, await trial.once(timeout_s=_SHORT_S), effects=1)


@check
async def a_slow_answer_within_the_timeout_is_an_answer(trial: Trial) -> None:
    begin, go_on = asyncio.Event(), asyncio.Event()
    trial.erp.script([Step(hold=begin, within=go_on)])
    sending = asyncio.create_task(trial.once())
    try:
        await trial.until_requests(1)
        begin.set()
        await trial.erp.until(lambda: len(trial.erp.effects) == 1)
        expect(not sending.done(), "it waits for the whole answer")
        go_on.set()
        expected(Delivered, await sending, "a slow answer")
    finally:
        sending.cancel()


@check
async def cancellation_passes_through(trial: Trial) -> None:
    """It leaves nothing behind, and the connection goes on."""
    before = asyncio.all_tasks()
    connector = trial.connector(concurrency=1)
    expected(Delivered, await trial.send(connector, key="first"), "the first")
    gate = asyncio.Event()
    trial.erp.script([Step(hold=gate)])
    sending = asyncio.create_task(trial.send(connector))
    await trial.until_requests(2)
    waiting = asyncio.create_task(trial.send(connector))
    await asyncio.sleep(0)
    for task in (waiting, sending):
        task.cancel()
        with suppress(asyncio.CancelledError):
            raise NotConforming(f"cancellation passes through, and is no outcome: {await task!r}")
    expected(Delivered, await trial.send(connector), "the next by the same connection")
    await connector.aclose()
    gate.set()
    await trial.erp.down()
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=_ENDED_S)
    expect(not left, f"no task is left behind: {left}")


def _check_uncertain(trial: Trial, outcome: object, effects: int) -> None:
    expected(Uncertain, outcome, "what may have been done, or not")
    expect(len(trial.erp.effects) == effects, "the simulated ERP did what the check asked for")
    expect(trial.requests == 1, f"one request, not {trial.requests}: it is not repeated by itself")
