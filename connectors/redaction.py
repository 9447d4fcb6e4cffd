"""Takes a connection's secrets out of what its ERP answers: some servers echo what they were sent."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from html import escape, unescape
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from connectors.protocol import Answer, Outcome

_SHORTEST = 6
_MASK = "***"
_GRANTED = 32
"""So many texts of one holder are known that were handed out while the connection is open: those of its last few."""
_LAYERS, _LONG = 3, 16_384
"""A text of more characters is decoded once: it is a page, and nobody else's deliveries wait for it."""
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)


class Redactor:
    """Masks the secrets of one connection, however JSON, URLs and XML spell them. Those under six characters stay: they
    would hit innocent text.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._own = frozenset(secrets)
        self._granted: dict[str, deque[str]] = {}
        self._plain: list[str] = []
        self._texts: list[str] = []
        self._needles: list[bytes] = []
        self._sharpen()

    def hide(self, secrets: Iterable[str], holder: str = "") -> None:
        """From now on these as well, until many others have come of the same holder.

        holder: so that what one is handed out with each request pushes nobody else's out.
        """
        known = self._granted.setdefault(holder, deque(maxlen=_GRANTED))
        fresh = [text for text in secrets if text not in known and text not in self._own]
        if fresh:
            known.extend(fresh)
            self._sharpen()

    def _sharpen(self) -> None:
        texts = self._own.union(*self._granted.values())
        self._plain = [text for text in texts if len(text) >= _SHORTEST]
        spelled = {form for text in self._plain for form in _spellings(text)}
        self._texts = sorted(spelled, key=len, reverse=True)
        self._needles = [text.encode("utf-8", "replace") for text in self._texts]

    def __call__(self, content: bytes) -> bytes:
        """Of UTF-8; who can parse it masks what came out, as `answer` does."""
        for needle in self._needles:
            if needle in content:
                content = content.replace(needle, _MASK.encode())
        return content

    def text(self, text: str) -> str:
        for spelled in self._texts:
            if spelled in text:
                text = text.replace(spelled, _MASK)
        decoded = self._revealing(text, _LAYERS if len(text) <= _LONG else 1)
        return text if decoded is None else self.text(decoded)

    def _revealing(self, text: str, layers: int) -> str | None:
        """The text decoded so far that a secret shows: spelled in a mixture, such as %2f and + in one, or encoded twice, as
        in a Location that repeats a whole request. None where none does.
        """
        for mark, plain in _DECODERS:
            if mark not in text or (decoded := plain(text)) == text:
                continue
            if any(secret in decoded for secret in self._plain):
                return decoded
            if layers > 1 and (deeper := self._revealing(decoded, layers - 1)) is not None:
                return deeper
        return None

    def answer(self, answer: Answer, content: bytes | None = None) -> Answer:
        """Of an answer that is parsed: whatever encoding or escapes it came in are gone.

        content: what it was parsed of, where that is at hand; nearly always it tells at a glance.
        """
        if not self._texts or (content is not None and self._is_clean(answer.headers, content)):
            return answer
        headers = {name: self._header(value) for name, value in answer.headers.items()}
        return replace(answer, headers=headers, body=self._tree(answer.body))

    def outcome(self, outcome: Outcome) -> Outcome:
        answer = outcome.answer
        shown = None if answer is None else self.answer(answer)
        return replace(outcome, message=self.text(outcome.message), answer=shown)

    def headers(self, headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """Of an answer, such as a Location that repeats the request's query."""
        return [(name, self._header(value)) for name, value in headers] if self._texts else headers

    def _is_clean(self, headers: Mapping[str, str], content: bytes) -> bool:
        """Whether there is no secret in it: none as it is, and nothing that might be another spelling or encoding."""
        together = "\n".join(headers.values())
        written = content + together.encode()
        return (
            together.isascii()
            and ("charset" not in together or "utf-8" in together.lower())
            and not any(mark in written for mark in _MARKS)
            and not any(needle in written for needle in self._needles)
        )

    def _header(self, value: str) -> str:
        """value: read as latin-1, though many a server writes UTF-8."""
        try:
            written = value.encode("latin-1").decode()
        except ValueError:
            written = value
        masked = self.text(written)
        return self.text(value) if masked == written else masked

    def _tree(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(name): self._tree(each) for name, each in value.items()}
            case list():
                return [self._tree(each) for each in value]
            case int() | Decimal() if str(value) in self._plain:
                return _MASK
            case _:
                return value


def _unescaped(text: str) -> str:
    """JSON's escapes undone, and the backslash that PHP puts before each slash."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return plain.encode("utf-8", "replace").decode()  # half of a surrogate pair could be written nowhere


_DECODERS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("%", unquote),
    ("%", unquote_plus),
    ("&", unescape),
    ("\\", _unescaped),
)


_MARKS = (b"%", b"&", b"\\", b"<", b"\0")
"""Of what `_DECODERS` decode, of XML, which says its encoding itself, and of UTF-16."""


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
