"""Protocol lines and headers."""

import pytest

from eventbus import wire
from eventbus.message import Message, ack_subject, ack_subject_for


def test_lines_carry_the_sizes_that_follow() -> None:
    assert wire.pub(b"a.b", b"", b"hello") == b"PUB a.b  5\r\nhello\r\n"
    assert (
        wire.hpub(b"a.b", b"r", b"X: 1\r\n", b"hi") == b"HPUB a.b r 18 20\r\nNATS/1.0\r\nX: 1\r\n\r\nhi\r\n"
    )


def test_headers_are_read_as_they_were_written() -> None:
    lines = wire.header_lines({"A": "1", "Bridge-Event-Id": "s:0/1:2"})
    assert wire.parse_headers(b"NATS/1.0\r\n" + lines + b"\r\n") == {"A": "1", "Bridge-Event-Id": "s:0/1:2"}


@pytest.mark.parametrize("headers", [{"A": "1\r\nB: 2"}, {"A\nB": "1"}, {"A": "x\r"}])
def test_a_line_break_in_a_header_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        wire.header_lines(headers)


def test_a_status_is_read_from_the_first_line() -> None:
    block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n"
    assert (wire.status_of(block), wire.status_text(block)) == (408, "Request Timeout")
    assert wire.parse_headers(block) == {"Nats-Pending-Messages": "3"}
    assert wire.status_of(b"NATS/1.0\r\nA: 1\r\n\r\n") == 0
    assert wire.status_of(b"NATS/1.0 503\r\n\r\n") == 503


@pytest.mark.parametrize(
    ("prefix", "suffix"), [(b"$JS.ACK", b""), (b"$JS.ACK.domain.account", b""), (b"$JS.ACK.d.a", b".random")]
)
def test_the_numbers_of_a_delivery_are_in_its_reply_subject(prefix: bytes, suffix: bytes) -> None:
    reply = prefix + b".S.lane-0.2.30.40.1500000000.5" + suffix
    message = Message(b"a", reply, b"", b"")
    assert (message.delivered, message.seq, message.consumer_seq, message.time, message.pending) == (
        *(2, 30, 40, 1.5, 5),
    )
    assert ack_subject_for(reply, 31, 41) == prefix + b".S.lane-0.1.31.41.1500000000.5" + suffix


def test_an_ack_subject_can_be_made_without_a_message() -> None:
    assert Message(b"", ack_subject_for(ack_subject("S", "c"), 3, 4), b"", b"").seq == 3
