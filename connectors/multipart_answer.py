"""The parts of a multipart answer (RFC 2046, 5.1.1), as far as anybody asks for them. Pure.

Read here, and not by Python's `email`: of what a hostile server sends that takes seconds, and raises a dozen of errors.
"""

import binascii
import quopri
import re
from email.message import Message
from itertools import islice

_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_TRANSFER = re.compile(rb"^content-transfer-encoding:[ \t]*([\w-]+)", re.IGNORECASE | re.MULTILINE)


def boundary_of(content_type: str) -> str | None:
    """None: there is none, or none that can be read."""
    message = Message()
    message["content-type"] = content_type
    try:
        return message.get_boundary()
    except (ValueError, TypeError, LookupError):  # of parameters in the parts and charsets of RFC 2231
        return None


def first_part(content: bytes, content_type: str) -> bytes | None:
    """Decoded, without its headers; None where there is none."""
    boundary = boundary_of(content_type)
    if boundary is None:
        return None
    mark = re.escape(boundary.encode("utf-8", "replace"))
    marks = re.finditer(rb"(?:^|\n)--" + mark + rb"(?:--)?[ \t]*\r?(?:\n|$)", content)
    begin, end = (*islice(marks, 2), None, None)[:2]
    if begin is None:
        return None
    # the line's end before a delimiter belongs to that
    part = content[begin.end() : len(content) if end is None else end.start()].removesuffix(b"\r")
    if part.startswith((b"\n", b"\r\n")):
        return part.partition(b"\n")[2]
    head, *rest = _EMPTY_LINE.split(part, maxsplit=1)
    encoding = _TRANSFER.search(head)
    return _decoded(rest[0] if rest else b"", b"" if encoding is None else encoding[1].lower())


def _decoded(content: bytes, encoding: bytes) -> bytes | None:
    match encoding:
        case b"base64":
            try:
                return binascii.a2b_base64(content)
            except binascii.Error:
                return None
        case b"quoted-printable":
            return quopri.decodestring(content)
        case _:
            return content
