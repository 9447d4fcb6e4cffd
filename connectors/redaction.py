"""Takes a connection's secrets out of what its ERP answers: some servers echo what they were sent."""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote, quote_plus

_SHORTEST = 6
_MASK = "***"
_GRANTED = 32
"""So many texts are known that were handed out while the connection is open: those of the last few renewals."""


class Redactor:
    """Masks the secrets of one connection, in the spellings that JSON, URLs and XML give them. Those under six characters
    stay: they would hit innocent text.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._own = frozenset(secrets)
        self._granted: deque[str] = deque(maxlen=_GRANTED)
        self._texts: list[str] = []
        self._needles: list[bytes] = []
        self._sharpen()

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these as well, until many others have come."""
        known = self._own.union(self._granted)
        fresh = [text for text in secrets if text not in known]
        if fresh:
            self._granted.extend(fresh)
            self._sharpen()

    def _sharpen(self) -> None:
        texts = self._own.union(self._granted)
        spelled = {form for text in texts if len(text) >= _SHORTEST for form in _spellings(text)}
        self._texts = sorted(spelled, key=len, reverse=True)
        self._needles = [text.encode("utf-8", "replace") for text in self._texts]

    def __call__(self, content: bytes) -> bytes:
        for needle in self._needles:
            if needle in content:
                content = content.replace(needle, _MASK.encode())
        return content

    def text(self, text: str) -> str:
        """As of an answer's bytes."""
        for needle in self._texts:
            if needle in text:
                text = text.replace(needle, _MASK)
        return text

    def headers(self, headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """Of an answer, such as a Location that repeats the request's query."""
        together = "\n".join([value for _, value in headers])
        if not any(needle in together for needle in self._texts):
            return headers
        return [(name, self.text(value)) for name, value in headers]


def _spellings(text: str) -> tuple[str, ...]:
    return (
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        quote(text, safe="", errors="replace"),
        quote_plus(text, errors="replace"),
        escape(text),
        escape(text, quote=False),
    )
