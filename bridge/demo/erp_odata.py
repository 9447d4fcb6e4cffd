"""What the simulated OData services read in a URL: which entity is meant, and which ones a `$filter` wants. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

_ENTITY = re.compile(r"(?P<name>\w+)(\((?P<key>.*)\))?", re.DOTALL)
_PAIR = re.compile(r"(?:(\w+)=)?('(?:[^']|'')*'|[\w-]+)(?:,|$)")
_EQUAL = re.compile(r"\s*(\w+) eq ('(?:[^']|'')*'|[\w.:-]+)\s*(?: and |$)")


class NotUnderstood(ValueError):
    """An address or a filter that these simulators cannot read."""


@dataclass(frozen=True, slots=True)
class Address:
    """`Items('a')` is Items with the key {"": "a"}; `A_X(Product='a',Language='ES')` names the key's members."""

    name: str
    key: Mapping[str, str]


def read_address(segment: str) -> Address:
    """segment: the last of the path, as sent. Raises NotUnderstood."""
    found = _ENTITY.fullmatch(unquote(segment))
    if found is None:
        raise NotUnderstood(segment)
    return Address(found["name"], _pairs(_PAIR, found["key"] or ""))


def read_filter(query: str) -> Mapping[str, str]:
    """The names and values of `$filter=A eq 'x' and B eq 'y'`; empty without a filter. Raises NotUnderstood."""
    texts = dict(parse_qsl(query.replace("+", "%2B")))
    return _pairs(_EQUAL, texts.get("$filter", ""))


def matches(document: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(str(document.get(name)) == value for name, value in wanted.items())


def _pairs(form: re.Pattern[str], text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        found = form.match(text, place)
        if found is None or found.end() == place:
            raise NotUnderstood(text)
        value = found[2]
        pairs[found[1] or ""] = value[1:-1].replace("''", "'") if value.startswith("'") else value
        place = found.end()
    return pairs
