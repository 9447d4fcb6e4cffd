"""Large requests and answers."""

from bridge.conformance.check import Trial, check, expect, expected
from bridge.demo.erp_server import Reply, Step
from connectors import protocol
from connectors.protocol import Delivered

_REQUEST = 20 * 2**20
_ANSWER = 3_000_000
_KEPT = 2**20
"""As much of an answer may be kept as HttpClient reads."""


@check
async def a_request_of_20_mb_arrives(trial: Trial) -> None:
    text = "0123456789abcdef" * (_REQUEST // 16)
    expected(Delivered, await trial.send(trial.connector(), text), "a large request")
    if trial.kind.read_back is not None:
        expect(trial.kind.read_back(trial.erp.effects[0]) == text, "all of it arrives")


@check
async def an_answer_that_is_too_large_is_cut_and_said(trial: Trial) -> None:
    """A server that never stops answering takes no more memory than this."""
    trial.erp.script([Step(Reply(200, "x" * _ANSWER))])
    outcome = await trial.once()
    wanted = getattr(protocol, trial.kind.large)
    answer = expected(wanted, outcome, "a success that is too large to be read").answer
    expect(answer is None or answer.truncated, "an answer of which a part was read says `truncated`")
    kept = "" if answer is None or answer.body is None else str(answer.body)
    expect(len(kept) <= _KEPT, f"{_KEPT} bytes of it are kept at most, not {len(kept)}")
    expected(Delivered, await trial.once(), "the next")
