"""Answers in parts, from servers that mean well and from others."""

import time

import pytest

from connectors.multipart_answer import first_part

TYPE = "multipart/related; boundary=b"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"--b\r\nContent-ID: <1>\r\n\r\n<a/>\r\n--b\r\n\r\nx\r\n--b--", b"<a/>"),
        (b"preamble\n--b \n\n<a/>\n--b--", b"<a/>"),
        (b"--b\r\n\r\n<a>\r\n\r\n--bb</a>", b"<a>\r\n\r\n--bb</a>"),
        (b"--b\nContent-Transfer-Encoding: BASE64\n\nPGEv\nPg==\n--b--", b"<a/>"),
        (b"--b\nContent-transfer-encoding:quoted-printable\n\n<a b=3D=\n'1'/>\n--b--", b"<a b='1'/>"),
        (b"--b\nContent-Transfer-Encoding: base64\n\nP\n--b--", None),
        (b"--b\nContent-Type: text/xml", b""),
        (b"--c\n\n<a/>", None),
        (b"", None),
    ],
)
def test_the_first_part_without_its_headers_and_decoded(content: bytes, found: bytes | None) -> None:
    assert first_part(content, TYPE) == found


@pytest.mark.parametrize("parameter", ["boundary*;boundary*0", "boundary*=idna''%ff", "boundary*9", "b"])
def test_a_boundary_that_nobody_can_read_is_none(parameter: str) -> None:
    assert first_part(b"--b\n\n<a/>\n--b--", f"multipart/related; {parameter}") is None


@pytest.mark.parametrize(
    "content",
    [
        b"--b\r\n\r\n\r\n" * 100_000,
        b"--b\r\n" + b"A: b\r\n" * 150_000,
        b"".join(
            b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (at, at + 1) for at in range(20_000)
        ),
    ],
)
def test_a_part_of_parts_of_parts_takes_no_time(content: bytes) -> None:
    began = time.process_time()
    first_part(content, TYPE)
    first_part(content, "multipart/related; boundary=b0")
    assert time.process_time() - began < 0.5
