"""The router stores each delivery once, in order, by the routes in force at its event, whatever crashes when."""

import pytest

from tests.simulation.router_world import RouterRules, RouterWorld, play
from tests.simulation.seeds import EVERYDAY, Seeds, first_violation
from tests.simulation.writer_world import Rules


@pytest.mark.timeout(600)
def test_every_delivery_is_stored_once_and_in_order(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_it_holds_for_many_more_seeds(seeds: Seeds) -> None:
    seeds.hold(play, range(EVERYDAY, 10 * EVERYDAY))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(RouterRules(resumes_at_cursor=False), id="takes a half-routed event for done"),
        pytest.param(RouterRules(looks_behind_torn=False), id="ignores what a torn batch left"),
        pytest.param(RouterRules(believes_spans=False), id="routes by today's table"),
        pytest.param(RouterRules(refreshes_after_reading=False), id="routes by the table it began with"),
        pytest.param(RouterRules(Rules(checks_expected=False)), id="writes without a fence"),
        pytest.param(RouterRules(Rules(fences_singles=False)), id="stores single deliveries without a fence"),
        pytest.param(RouterRules(Rules(sees_singles=False)), id="overlooks single deliveries"),
    ],
)
def test_each_rule_is_needed(rules: RouterRules) -> None:
    first_violation(lambda seed: RouterWorld(seed, rules).run(), range(EVERYDAY))
