"""What an ERP answers can always be written down again."""

import time

import msgspec
import pytest

from connectors.answers import read_answer


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (rb'{"error": "\ud83d"}', "application/json"),
        (rb'{"\ud83d": 1}', "application/json"),
        (rb"oh \ud83d", "text/plain; charset=unicode_escape"),
        (b"[" * 700 + b"1" * 5_000 + b"]" * 700, "application/json"),
        (b"[" * 201 + b"]" * 201, "application/json"),
        (b'{"a": 1e99999999999999999999}', "application/json"),
        (b"[-1.5e-99999999999999999999, NaN]", "application/json"),
    ],
)  # fmt: skip
def test_an_answer_that_no_json_can_hold_is_text(content: bytes, content_type: str) -> None:
    answer = read_answer(400, [("content-type", content_type)], content, truncated=False)
    msgspec.json.encode(answer.body)
    assert isinstance(answer.body, str)


def test_what_is_nested_as_deep_as_documents_are_is_read() -> None:
    depth = 199
    content = b'{"a":' * depth + b"[1]" + b"}" * depth
    assert not isinstance(read_answer(200, [], content, truncated=False).body, str)


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "utf-7", "zlib", "none such"])
def test_a_charset_that_no_server_means_is_read_as_utf_8_and_at_once(charset: str) -> None:
    content = b"a" * 300_000 + rb"\q\u0041" + "ñ".encode()
    began = time.process_time()
    answer = read_answer(200, [("content-type", f"text/plain; charset={charset}")], content, truncated=False)
    assert answer.body == content.decode()
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("charset", ["latin-1", "windows-1252", "iso-8859-15", "utf-16", "shift_jis"])
def test_a_charset_that_servers_use_is_read(charset: str) -> None:
    text = "ok" if charset == "shift_jis" else "Ñandú"
    kind = [("content-type", f"text/plain; charset={charset}")]
    assert read_answer(200, kind, text.encode(charset), truncated=False).body == text
