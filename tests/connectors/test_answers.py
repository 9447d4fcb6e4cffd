"""What an ERP answers can always be written down again."""

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
    ],
)  # fmt: skip
def test_an_answer_that_no_json_can_hold_is_text(content: bytes, content_type: str) -> None:
    answer = read_answer(400, [("content-type", content_type)], content, truncated=False)
    msgspec.json.encode(answer.body)
