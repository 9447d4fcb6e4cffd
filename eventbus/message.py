"""A message as a consumer delivers it: parts are parsed when asked for, so that a flood costs little."""

from functools import cached_property

from eventbus import wire


class Message:
    """One delivery. `reply` is where it is acknowledged, `header_block` as it came (empty where there is none)."""

    def __init__(self, subject: bytes, reply: bytes, header_block: bytes, payload: bytes) -> None:
        self._subject = subject
        self.reply = reply
        self.header_block = header_block
        self.payload = payload

    def with_payload(self, payload: bytes) -> "Message":
        """The same delivery with another payload."""
        return Message(self._subject, self.reply, self.header_block, payload)

    @cached_property
    def subject(self) -> str:
        return self._subject.decode()

    @cached_property
    def headers(self) -> dict[str, str]:
        return wire.parse_headers(self.header_block) if self.header_block else {}

    @cached_property
    def _numbers(self) -> list[bytes]:
        # $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<time>.<pending>[.<random>]
        tokens = self.reply.split(b".")
        return tokens[4:9] if len(tokens) == 9 else tokens[6:11]

    @property
    def delivered(self) -> int:
        """How often the consumer has delivered it, as the server counts: from 1 on, and not to be relied on."""
        return int(self._numbers[0])

    @property
    def seq(self) -> int:
        """Its sequence in the stream."""
        return int(self._numbers[1])

    @property
    def consumer_seq(self) -> int:
        """The number of this delivery among all of the consumer."""
        return int(self._numbers[2])

    @property
    def time(self) -> float:
        """When it was stored, in seconds since the epoch."""
        return int(self._numbers[3]) / 1e9

    @property
    def pending(self) -> int:
        """How many the consumer has not delivered yet."""
        return int(self._numbers[4])


def ack_subject_for(reply: bytes, seq: int, consumer_seq: int) -> bytes:
    """Where message `seq` of the same consumer is acknowledged, made from a real message's `reply` (rule R3.5).

    `consumer_seq`: any between the consumer's ack floor and its last delivery.
    """
    tokens = reply.split(b".")
    first = 4 if len(tokens) == 9 else 6
    tokens[first : first + 3] = (b"1", b"%d" % seq, b"%d" % consumer_seq)
    return b".".join(tokens)


def ack_subject(stream: str, consumer: str) -> bytes:
    """A `reply` for `ack_subject_for` where no message has come yet; without a JetStream domain."""
    return f"$JS.ACK.{stream}.{consumer}.1.0.0.0.0".encode()
