"""Rule C8: what may be confirmed to PostgreSQL, and when."""

from cdc.progress import Progress, ProgressSettings


def progress(hold_back: float = 0.0, *, recorded: int = 100, confirmed: int = 50) -> Progress:
    found = Progress(ProgressSettings(hold_back, feedback_every=5.0), now=0.0)
    found.begin(recorded, confirmed, now=0.0)
    return found


def test_only_signs_of_life_before_a_position_is_claimed() -> None:
    silent = Progress(ProgressSettings(feedback_every=5.0), now=0.0)
    assert silent.feedback(4.9) is None
    assert silent.feedback(5.0) == 0


def test_the_claimed_position_is_confirmed() -> None:
    assert progress().feedback(0.2) == 100


def test_what_is_put_is_confirmed_only_once_it_is_acknowledged() -> None:
    found = progress()
    found.put(200)
    assert found.feedback(5.0) == 100
    found.acknowledged(200, now=5.1)
    assert found.feedback(5.2) == 200


def test_the_slot_is_never_taken_back() -> None:
    found = progress(recorded=100, confirmed=150)
    assert found.feedback(5.0) == 0
    found.acknowledged(140, now=6.0)
    assert found.feedback(10.0) == 0
    found.acknowledged(151, now=11.0)
    assert found.feedback(15.0) == 151


def test_feedback_goes_on_while_nothing_is_acknowledged() -> None:
    found = progress()
    assert [found.feedback(now) for now in (5.0, 6.0, 10.0, 15.0)] == [100, None, 100, 100]


def test_young_positions_are_held_back() -> None:
    found = progress(hold_back=150.0)
    found.acknowledged(200, now=10.0)
    found.acknowledged(300, now=10.5)  # waits together with the one before, as long as itself
    assert found.feedback(149.9) == 0
    assert found.feedback(150.1) == 100
    assert found.feedback(160.4) == 100
    assert found.feedback(160.5) is None
    assert found.wake(between_transactions=True) == 160.6
    assert found.feedback(160.6) == 300


def test_a_keepalive_alone_confirms_nothing() -> None:
    found = progress()
    found.keepalive(900, now=1.0, asks=False)
    assert found.feedback(5.0) == 100


def test_a_keepalive_leads_to_a_lone_position_at_most_every_ten_seconds() -> None:
    found = progress()
    found.keepalive(900, now=1.0, asks=False)
    assert found.lone(1.0) == 900
    assert found.lone(1.0) is None
    found.keepalive(950, now=2.0, asks=False)
    assert found.lone(10.9) is None
    assert found.wake(between_transactions=True) < 11.0  # feedback comes first
    assert found.lone(11.0) == 950


def test_much_wal_needs_no_ten_seconds() -> None:
    found = progress()
    found.keepalive(200, now=1.0, asks=False)
    assert found.lone(1.0) == 200
    found.keepalive(200 + 16 * 2**20, now=1.1, asks=False)
    assert found.lone(1.1) == 200 + 16 * 2**20


def test_a_keepalive_behind_what_is_put_writes_nothing() -> None:
    found = progress()
    found.put(1_000)
    found.keepalive(1_000, now=1.0, asks=False)
    assert found.lone(100.0) is None


def test_within_a_transaction_no_lone_position_is_waited_for() -> None:
    found = progress()
    found.keepalive(900, now=1.0, asks=False)
    assert found.wake(between_transactions=True) <= 1.0
    assert found.wake(between_transactions=False) > 0.1


def test_a_server_that_asks_is_answered_within_a_second_and_brings_a_lone_position() -> None:
    found = progress()
    found.keepalive(200, now=0.0, asks=False)
    assert found.lone(0.0) == 200
    assert found.feedback(0.2) == 100
    found.keepalive(300, now=0.5, asks=True)
    assert found.lone(1.0) == 300
    assert found.feedback(1.0) is None
    assert found.feedback(1.2) == 100


def test_a_server_that_asks_again_and_again_wants_to_end() -> None:
    found = progress(hold_back=150.0)
    for second in range(4):
        found.keepalive(300, now=float(second), asks=True)
    assert not found.server_wants_to_end
    found.keepalive(300, now=4.0, asks=True)
    assert found.server_wants_to_end


def test_a_server_that_asks_now_and_then_does_not() -> None:
    found = progress()
    for minute in range(10):
        found.keepalive(300, now=60.0 * minute, asks=True)
    assert not found.server_wants_to_end


def test_the_last_word_is_all_that_may_be_confirmed() -> None:
    found = progress()
    found.acknowledged(700, now=0.1)
    assert found.final(0.1) == 700
    assert found.confirmed == 700
