"""A lane loses nothing, reorders no key and repeats only what it must, whatever crashes when; each rule is needed."""

import pytest

from pipeline.lane_state import Barrier
from tests.simulation.lane_surroundings import LaneRules, Violated
from tests.simulation.lane_world import LaneWorld

SEEDS = 2_000


def run_all(rules: LaneRules, seeds: range = range(SEEDS)) -> None:
    for seed in seeds:
        LaneWorld(seed, rules).run()


def test_every_delivery_ends_once_and_each_key_stays_in_order() -> None:
    run_all(LaneRules())


@pytest.mark.slow
def test_it_holds_for_many_more_seeds() -> None:
    run_all(LaneRules(), range(SEEDS, 20_000))


def passed(barrier: Barrier) -> Barrier:
    barrier.nothing_left()
    return barrier


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(LaneRules(barrier=passed), id="sends before the barrier"),
        pytest.param(LaneRules(confirms_before_the_next=False), id="does not await the confirmation"),
        pytest.param(LaneRules(remembers=False), id="forgets what is settled"),
        pytest.param(LaneRules(reads_dead_letters=False), id="does not read dead letters at takeover"),
        pytest.param(LaneRules(checks_lease=False), id="acts without looking at its lease"),
        pytest.param(LaneRules(sweeps=False), id="does not sweep"),
        pytest.param(LaneRules(notes_intents=False), id="notes no intent"),
        pytest.param(LaneRules(counts_deliveries=False), id="does not notice what it was not given"),
    ],
)
def test_each_rule_is_needed(rules: LaneRules) -> None:
    with pytest.raises(Violated):
        run_all(rules, range(4 * SEEDS))
