"""Takes a connection's secrets out of what its ERP answers: some servers echo what they were sent."""

import json
from collections.abc import Mapping
from typing import Any

from connectors.auth import SECRET_FIELDS, authorization

_SHORTEST = 6
_MASK = b"***"


class Redactor:
    """Masks the secrets of one connection: passwords, tokens, and what else of `auth` is `hidden`. Those under six
    characters stay: they would hit innocent text.
    """

    def __init__(self, auth: Mapping[str, Any], hidden: frozenset[str] = frozenset()) -> None:
        texts = {str(auth[name]) for name in (SECRET_FIELDS | hidden) & set(auth)}
        header = authorization(auth)
        if header is not None:
            texts.add(header.partition(" ")[2])
        spelled = {form for text in texts for form in (text, *_in_json(text)) if len(text) >= _SHORTEST}
        self._needles = sorted((form.encode() for form in spelled), key=len, reverse=True)

    def __call__(self, content: bytes) -> bytes:
        for needle in self._needles:
            if needle in content:
                content = content.replace(needle, _MASK)
        return content


def _in_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
