"""What an ERP's answers mean, and that each of the six outcomes is told."""

from bridge.conformance.check import TEXT, Trial, check, expect, expected
from bridge.conformance.kind import KEY, Said
from bridge.demo.erp_server import Reply, Step
from connectors.protocol import Delivered, Outcome, Rejected, Throttled, Unavailable, Uncertain

_OTHER = KEY.replace("748:3", "748:4")
_OTHER_TEXT = f"{TEXT} 2"


@check
async def delivered_means_that_the_erp_has_it(trial: Trial) -> None:
    """Whole, letter by letter, and once."""
    expected(Delivered, await trial.once(), "what the ERP took")
    expect(len(trial.erp.effects) == 1, f"one delivery is one effect: {trial.erp.effects}")
    expect(trial.requests == 1, f"one request, not {trial.requests}")
    if trial.kind.read_back is not None:
        got = trial.kind.read_back(trial.erp.effects[0])
        expect(got == TEXT, f"the text arrives as it is: {got!r}")


@check
async def the_same_delivery_twice_is_one_effect(trial: Trial) -> None:
    """Where the ERP, or the way in which it is asked, tells a repetition from a new document."""
    connector = trial.connector()
    first, second = await trial.send(connector), await trial.send(connector)
    expected(Delivered, first, "the first")
    expected(Delivered, second, "its repetition")
    expect(len(trial.erp.effects) == 1, f"one effect: {trial.erp.effects}")
    trial.erp.script([Step(cut="after")])
    expected(Uncertain, await trial.send(connector, _OTHER_TEXT, _OTHER), "another, whose answer is lost")
    expected(Delivered, await trial.send(connector, _OTHER_TEXT, _OTHER), "its repetition")
    expect(len(trial.erp.effects) == 2, f"one effect more: {trial.erp.effects}")


@check
async def rejected_carries_the_erps_words(trial: Trial) -> None:
    """On one line, with its own error code."""
    outcome = expected(Rejected, await _answered(trial, trial.kind.rejected), "what the ERP refuses")
    _check_words(outcome, trial.kind.rejected)
    expect("\n" not in outcome.message, f"a message is one line: {outcome.message!r}")


@check
async def throttled_says_for_how_long(trial: Trial) -> None:
    outcome = expected(Throttled, await _answered(trial, trial.kind.throttled), "too much for the ERP")
    _check_words(outcome, trial.kind.throttled)
    expect(outcome.after == trial.kind.throttled.after, f"wait, as it says, not {outcome.after}")


@check
async def unavailable_says_for_how_long(trial: Trial) -> None:
    outcome = expected(
        Unavailable, await _answered(trial, trial.kind.unavailable), "an ERP that is down for a while"
    )
    _check_words(outcome, trial.kind.unavailable)
    expect(outcome.after == trial.kind.unavailable.after, f"wait, as it says, not {outcome.after}")


@check
async def a_redirect_is_not_followed(trial: Trial) -> None:
    """It could lead where the connection's credentials must not go."""
    elsewhere = Reply(307, None, {"Location": f"{trial.erp.base_url}/elsewhere"})
    trial.erp.script([Step(elsewhere)])
    outcome = await trial.once()
    expect(not isinstance(outcome, Delivered), f"a redirect is no delivery: {outcome!r}")
    expect(trial.requests == 1, f"one request, not {trial.requests}")


async def _answered(trial: Trial, said: Said) -> Outcome:
    trial.erp.script([Step(said.reply)])
    outcome = await trial.once()
    expect(trial.erp.effects == [], "the simulated ERP did nothing")
    expect(trial.requests == 1, f"one request, not {trial.requests}: repeating is not the connector's affair")
    return outcome


def _check_words(outcome: Rejected | Throttled | Unavailable, said: Said) -> None:
    if said.code:
        expect(outcome.code == said.code, f"its code is {said.code!r}, not {outcome.code!r}")
    expect(outcome.message.endswith(said.words), f"the message ends with {said.words!r}: {outcome.message!r}")
