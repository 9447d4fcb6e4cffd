"""Capture publishes each change once, in the slot's order, and confirms only what is stored, whatever crashes when."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cdc.capture_stream import CaptureStream
from cdc.decoder import Decoder
from cdc.position import FINISHED, Mark, Position
from cdc.progress import Progress
from cdc.replication_frames import Keepalive
from cdc.start_decision import Consent, SlotFacts, decide_gap
from cdc.tenure import Tenure
from cdc.transaction_groups import TransactionGroups
from eventbus.group_commit import Group, Outgoing
from tests.simulation import test_group_commit as writers
from tests.simulation.capture_world import CaptureWorld, play
from tests.simulation.seeds import EVERYDAY, Seeds, first_violation
from tests.simulation.writer_world import Rules

Mutant = tuple[str, Callable[..., Any]]
"""The attribute that holds a rule, and what stands in its place."""


@pytest.mark.timeout(600)
def test_every_change_is_stored_once_and_confirmed_after_it(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_it_holds_for_many_more_seeds(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY, 10 * EVERYDAY))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(claim=writers.never_look), id="never looks"),
        pytest.param(Rules(claim=writers.forget_where_an_earlier_claim_looked), id="forgets scan_from"),
        pytest.param(Rules(checks_expected=False), id="writes without a fence"),
    ],
)
def test_each_rule_of_the_writer_is_needed(rules: Rules) -> None:
    first_violation(lambda seed: CaptureWorld(seed, rules).run(), range(EVERYDAY))


# what capture would do without one of its rules: the attribute that holds the rule, and what stands in its place


def put_is_stored(progress: Progress, flush: int) -> None:
    progress._recorded = max(progress._recorded, flush)
    progress.acknowledged(flush, progress._last_feedback)


def put_as_it_is(stream: CaptureStream, group: Group[Mark]) -> None:
    stream._mark = group.mark
    stream._tenure.progress.put(group.mark.flush)
    stream._tenure.writer.put(group)


async def keepalive_overtakes(stream: CaptureStream, keepalive: Keepalive) -> None:
    wal_end = keepalive.wal_end if stream._decoder.between_transactions else 0
    stream._tenure.progress.keepalive(wal_end, 0.0, asks=keepalive.reply)


async def keepalive_is_confirmed(stream: CaptureStream, keepalive: Keepalive) -> None:
    await stream._put_ready()
    if stream._decoder.between_transactions and stream._tenure.writer.idle:
        stream._tenure.progress.acknowledged(keepalive.wal_end, 0.0)


def begins_behind_a_message(slot: SlotFacts) -> Mark:
    return Mark(slot.confirmed_flush, FINISHED, slot.confirmed_flush)


def skips_below(groups: TransactionGroups, message: Outgoing, add: Any = TransactionGroups.add) -> None:
    if message.key == groups._published:
        groups._published = (0, 0)
    add(groups, message)


def lets_go_within_a_transaction(groups: TransactionGroups) -> None:
    lsn, ordinal = groups._messages[-1].key
    mark = Mark(int(lsn), int(ordinal), int(lsn) + 48)
    groups._group(len(groups._messages), groups._size, mark)


def takes_a_piece_for_all(groups: TransactionGroups) -> None:
    lsn, _ = groups._messages[-1].key
    groups._group(len(groups._messages), groups._size, Mark(int(lsn), FINISHED, groups._flush))


def ignores_the_gap(mark: Mark, *_: object) -> Mark:
    return mark


def sees_a_gap(
    mark: Mark, held: Position, slot: SlotFacts, consent: Consent, decide: Any = decide_gap
) -> Any:
    return decide(mark._replace(flush=mark.flush - 1), held, slot, consent)


def ignores_torn(tenure: Tenure, position: Any, _torn: object) -> Mark:
    mark: Mark = position.mark
    return mark


def holds_nothing_back(progress: Progress, settings: Any, now: float, init: Any = Progress.__init__) -> None:
    init(progress, replace(settings, hold_back=0.0), now)


def counts_what_is_captured(decoder: Decoder, frame: bytes, insert: Any = Decoder._insert) -> None:
    if decoder._tables[frame[26:30]] is not None:
        insert(decoder, frame)


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        pytest.param("cdc.progress.Progress.put", put_is_stored, id="confirms what is only put"),
        pytest.param("cdc.progress.Progress.__init__", holds_nothing_back, id="holds nothing back"),
        pytest.param("cdc.capture_stream.CaptureStream._put", put_as_it_is, id="takes flush back"),
        pytest.param(
            "cdc.capture_stream.CaptureStream._keepalive", keepalive_overtakes, id="a keepalive overtakes"
        ),
        pytest.param(
            "cdc.capture_stream.CaptureStream._keepalive", keepalive_is_confirmed, id="confirms a keepalive"
        ),
        pytest.param("cdc.start_decision._start", begins_behind_a_message, id="no ordinal 0"),
        pytest.param("cdc.tenure.decide_gap", ignores_the_gap, id="ignores a gap"),
        pytest.param("cdc.tenure.decide_gap", sees_a_gap, id="sees a gap where none is"),
        pytest.param("cdc.tenure.Tenure._after_torn", ignores_torn, id="ignores what a torn batch left"),
        pytest.param("cdc.transaction_groups.TransactionGroups.add", skips_below, id="skips by <"),
        pytest.param(
            "cdc.transaction_groups.TransactionGroups._cut",
            lets_go_within_a_transaction,
            id="lets go too early",
        ),
        pytest.param(
            "cdc.transaction_groups.TransactionGroups._cut", takes_a_piece_for_all, id="takes a piece for all"
        ),
        pytest.param("cdc.decoder.Decoder._insert", counts_what_is_captured, id="counts captured rows only"),
    ],
)
def test_each_rule_is_needed(monkeypatch: pytest.MonkeyPatch, rule: str, instead: Callable[..., Any]) -> None:
    monkeypatch.setattr(rule, instead)
    first_violation(play, range(EVERYDAY))
