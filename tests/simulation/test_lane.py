"""Lanes, their workers and routes in trouble: nothing is lost, reordered or repeated without need, whatever crashes when."""

import pytest

from pipeline.lanes.state import Barrier
from tests.simulation.lane_rules import LaneRules
from tests.simulation.lane_world import LaneWorld, play
from tests.simulation.seeds import EVERYDAY, Seeds, first_violation


@pytest.mark.timeout(600)
def test_every_delivery_ends_once_and_each_key_stays_in_order(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_it_holds_for_many_more_seeds(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY, 5 * EVERYDAY))


SLOW = pytest.mark.slow
"""Found, but by one in some thousands of seeds."""


def passed(barrier: Barrier) -> Barrier:
    return Barrier(barrier.upto, 0)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(LaneRules(barrier=passed), id="sends before the barrier"),
        pytest.param(LaneRules(waits_for_barrier=False), id="leaves its lane before the barrier"),
        pytest.param(LaneRules(sweeps=False, begins_anew=False), id="does not sweep"),
        pytest.param(LaneRules(sweeps_its_own=False, begins_anew=False), id="does not sweep D"),
        pytest.param(LaneRules(begins_anew=False), id="takes what is new for the end of what is old"),
        pytest.param(LaneRules(counts_deliveries=False), id="does not notice what it was not given"),
        pytest.param(LaneRules(checks_lease=False), id="trusts its pin alone"),
        pytest.param(LaneRules(confirms_before_the_next=False), id="does not await the confirmation"),
        pytest.param(
            LaneRules(confirms_again=False),
            id="does not await that what it knows is confirmed again",
            marks=SLOW,
        ),
        pytest.param(LaneRules(remembers=False), id="forgets what is settled"),
        pytest.param(LaneRules(reads_dead_letters=False), id="does not read dead letters at takeover"),
        pytest.param(LaneRules(notes_intents=False), id="notes no intent"),
        pytest.param(LaneRules(never_gives_up=False), id="sets max_deliver"),
        pytest.param(LaneRules(detaches=False), id="leaves routes in trouble in their lane"),
        pytest.param(LaneRules(knows_todo=False), id="does not know what was settled when it left"),
        pytest.param(LaneRules(creates_before_it_lets_go=False), id="lets go before D is there"),
        pytest.param(LaneRules(parks=False), id="acknowledges unseen while D ends"),
        pytest.param(LaneRules(waits_for_the_new=False), id="ends D before what the lane keeps"),
        pytest.param(LaneRules(knows_settled_through=False), id="forgets what D has settled", marks=SLOW),
        pytest.param(LaneRules(incarnations=False), id="calls each D of a route the same"),
        pytest.param(
            LaneRules(compares_and_sets=False), id="writes the state over a successor's", marks=SLOW
        ),
        pytest.param(LaneRules(heeds_pauses=False), id="goes on while it is paused"),
        pytest.param(LaneRules(writes_one_letter=False), id="writes a dead letter over another"),
        pytest.param(LaneRules(deadline_stands_still=False), id="counts the time of a pause"),
        pytest.param(LaneRules(blocks_keys=False), id="lets a key go on behind a dead letter that blocks it"),
        pytest.param(LaneRules(remembers_blocks=False), id="forgets what blocks a key at takeover"),
        pytest.param(LaneRules(places_replays=False), id="puts a blocked key's replay at the end"),
        pytest.param(LaneRules(marks_by_compare_and_set=False), id="replays without a marker"),
        pytest.param(LaneRules(fences_copies=False), id="stores a replay whoever has the marker"),
        pytest.param(LaneRules(looks_for_copies=False), id="does not look for what a dead operator replayed"),
        pytest.param(LaneRules(finishes_replays=False), id="purges what an unfinished replay looks for"),
        pytest.param(LaneRules(reads_last_first=False), id="purges by a later last sequence"),
        pytest.param(LaneRules(reads_state_twice=False), id="purges while a route is leaving"),
        pytest.param(LaneRules(purges_by_own_consumers=False), id="purges without looking at Ds"),
    ],
)
def test_each_rule_is_needed(rules: LaneRules) -> None:
    first_violation(lambda seed: LaneWorld(seed, rules).run(), range(EVERYDAY))
