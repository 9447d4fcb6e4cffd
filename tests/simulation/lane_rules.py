"""The parts of the protocol of delivery, so that a test can break one of them."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.lanes.state import Barrier


@dataclass(frozen=True)
class LaneRules:
    """False: that part is broken."""

    barrier: Callable[[Barrier], Barrier] = lambda barrier: barrier
    confirms_before_the_next: bool = True
    confirms_again: bool = True
    remembers: bool = True
    reads_dead_letters: bool = True
    checks_lease: bool = True
    sweeps: bool = True
    notes_intents: bool = True
    counts_deliveries: bool = True
    detaches: bool = True
    waits_for_barrier: bool = True
    knows_todo: bool = True
    creates_before_it_lets_go: bool = True
    parks: bool = True
    waits_for_the_new: bool = True
    knows_settled_through: bool = True
    incarnations: bool = True
    compares_and_sets: bool = True
    sweeps_its_own: bool = True
    begins_anew: bool = True
    deadline_stands_still: bool = True
    heeds_pauses: bool = True
    writes_one_letter: bool = True
    blocks_keys: bool = True
    remembers_blocks: bool = True
    places_replays: bool = True
    finishes_replays: bool = True
    marks_by_compare_and_set: bool = True
    fences_copies: bool = True
    looks_for_copies: bool = True
    reads_last_first: bool = True
    reads_state_twice: bool = True
    purges_by_own_consumers: bool = True
    never_gives_up: bool = True
