"""Lines of the NATS client protocol, as bytes (NATS documentation, "Client Protocol").

Header blocks are passed as whole lines, each with its CRLF, without the version line and the final blank one.
"""

from collections.abc import Mapping

_VERSION = b"NATS/1.0\r\n"


def pub(subject: bytes, reply: bytes, payload: bytes) -> bytes:
    """A message without headers; `reply` may be empty."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)


def hpub(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> bytes:
    """A message with headers; `reply` may be empty."""
    size = len(headers) + 12
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        *(subject, reply, size, size + len(payload)),
        *(headers, payload),
    )


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as lines. Raises ValueError for a line break, which would end the header."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header's name or value holds a line break")
    return text.encode()


def status_of(block: bytes) -> int:
    """The status on a header block's first line, `NATS/1.0 404 No Messages`; 0 where it has none."""
    line = block[8 : block.find(b"\r\n")].strip()
    return int(line[:3]) if line else 0


def status_text(block: bytes) -> str:
    """The words after the status."""
    return block[8 : block.find(b"\r\n")].strip()[4:].decode("utf-8", "replace")


def parse_headers(block: bytes) -> dict[str, str]:
    """A header block as it came (version line first) by name; of a repeated name the last value."""
    headers = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.decode("utf-8", "replace")] = value.strip().decode("utf-8", "replace")
    return headers
