"""A route that cannot deliver for hours does not fill the log."""

from pipeline.delivery.repeated_lines import AGAIN_S, RepeatedLines


def test_the_same_is_said_once_a_minute_and_another_reason_at_once() -> None:
    lines = RepeatedLines()
    assert lines.worth("acme", "orders", "no secret 'a'", 0.0)
    assert not lines.worth("acme", "orders", "no secret 'a'", AGAIN_S - 1)
    assert lines.worth("acme", "vendors", "no secret 'a'", 1.0)
    assert lines.worth("beta", "orders", "no secret 'a'", 1.0)
    assert lines.worth("acme", "orders", "no secret 'a'", AGAIN_S)
    assert lines.worth("acme", "orders", "no secret 'b'", AGAIN_S + 1)
    assert lines.worth("acme", "orders", "no secret 'a'", AGAIN_S + 2)
