"""Group commit and claim keep every message once and in order, whatever crashes when; and each rule is needed."""

from collections.abc import Callable, Generator
from typing import Any

import pytest

from eventbus.fence import (
    Answer,
    Claimed,
    ClaimLost,
    FenceMark,
    Look,
    Request,
    Stored,
    Torn,
    Write,
    Written,
    claim,
)
from eventbus.group_commit import Action, Committed, GroupCommit, OrderKey, Single
from tests.simulation.seeds import first_violation
from tests.simulation.writer_world import Rules, World

SEEDS = 2_000


def test_every_message_is_stored_once_and_in_order() -> None:
    for seed in range(SEEDS):
        World(seed, Rules()).run()


def look_before_the_claim(
    held: Stored, encode: Callable[[FenceMark], bytes], token: str
) -> Generator[Request, Answer, Claimed | ClaimLost]:
    scan_from = held.mark.scan_from if held.mark.claim else held.seq
    torn = yield Look(scan_from, 10**9)
    written = yield Write(encode(FenceMark(token, claim=True, scan_from=scan_from)), held.seq)
    assert isinstance(written, Written)
    assert isinstance(torn, Torn | None)
    return ClaimLost(written.code) if written.seq is None else Claimed(written.seq, torn, b"")


def forget_where_an_earlier_claim_looked(
    held: Stored, encode: Callable[[FenceMark], bytes], token: str
) -> Generator[Request, Answer, Claimed | ClaimLost]:
    return claim(Stored(held.seq, held.payload, FenceMark(held.mark.token)), encode, token)


def never_look(
    held: Stored, encode: Callable[[FenceMark], bytes], token: str
) -> Generator[Request, Answer, Claimed | ClaimLost]:
    claimed = yield from claim(held, encode, token)
    return claimed if isinstance(claimed, ClaimLost) else Claimed(claimed.fence, None, claimed.payload)


class SendsAgainUnclaimed(GroupCommit[int]):
    def resolved(self, stored: Stored) -> Committed[int] | None:
        committed = super().resolved(stored)
        if committed is None and stored.seq == self.fence:
            self.decide(1e9)
            self.reclaimed(self.fence, None)
        return committed


class SendsWhatIsStored(GroupCommit[int]):
    def reclaimed(self, fence: int, torn: OrderKey | None) -> None:
        super().reclaimed(fence, torn and (-1,))


class DoesNotAwaitSingles(GroupCommit[int]):
    """The next one is on its way before the server has said whether it took the one before."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._early: dict[str, Committed[int] | None] = {}

    def decide(self, now: float) -> Action[int] | None:
        action = super().decide(now)
        if isinstance(action, Single):
            self._early[action.id] = super().answered(action.id, 1, None, now)
        return action

    def answered(self, batch: str, seq: int | None, code: int | None, now: float) -> Committed[int] | None:
        if batch in self._early:
            return self._early.pop(batch) if seq else None
        return super().answered(batch, seq, code, now)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(claim=look_before_the_claim),
        Rules(claim=forget_where_an_earlier_claim_looked),
        Rules(claim=never_look),
        Rules(batches=SendsAgainUnclaimed),
        Rules(batches=SendsWhatIsStored),
        Rules(checks_expected=False),
        Rules(fences_singles=False),
        Rules(sees_singles=False),
        Rules(batches=DoesNotAwaitSingles),
    ],
    ids=[
        "look first",
        "forget scan_from",
        "never look",
        "unclaimed",
        "not skipped",
        "no expected sequence",
        "single messages without a fence",
        "overlooks single messages",
        "single messages are not awaited",
    ],
)
def test_without_a_rule_the_simulation_finds_what_breaks(rules: Rules) -> None:
    violated = first_violation(lambda seed: World(seed, rules).run(), range(SEEDS))
    assert "is stored after" in str(violated)
