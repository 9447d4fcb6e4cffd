"""Finds what went wrong in an ERP's error body, in the shapes the ERPs document. Pure.

OData (SAP, Business Central, Business One), NetSuite, RFC 9457 problems, Frappe, Odoo, and what most others do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 500
# in lower case: some ERPs write Message, others message
_TEXTS = (
    "message",
    "detail",
    "title",
    "error_description",
    "description",
    "exception",
    "msg",
    "value",
    "#text",  # of an XML element with attributes
    "faultstring",
    "errormessage",
)
_CODES = ("code", "o:errorcode", "exc_type", "name", "errorcode", "faultcode")
_INSIDE = (
    "message",
    "error",
    "errors",
    "innererror",
    "errordetails",
    "errordetail",
    "details",
    "o:errordetails",
    "body",
    "fault",
    "statusdetail",
)


@dataclass(frozen=True, slots=True)
class ErrorText:
    """text: one line, at most LONGEST characters. codes: the ERP's own, outermost first."""

    text: str
    codes: tuple[str, ...] = ()


def error_text(body: Any) -> ErrorText:
    """body: an Answer's. Never fails: an unknown shape is an empty text, or its own beginning."""
    if isinstance(body, str):
        return ErrorText(one_line(body))
    found = list(_walk(body, 8))
    texts = dict.fromkeys(text for kind, text in found if kind == "text")
    return ErrorText(
        one_line("; ".join(texts)), tuple(dict.fromkeys(text for kind, text in found if kind == "code"))
    )


def one_line(text: str) -> str:
    """Control characters and line breaks become spaces; cut at LONGEST."""
    short = text[: 4 * LONGEST]
    printable = "".join(letter if letter.isprintable() else " " for letter in short)
    joined = " ".join(printable.split())
    return joined if len(joined) <= LONGEST else joined[: LONGEST - 1] + "…"


def _walk(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield "text", value
    elif isinstance(value, list):
        for item in value[:20]:
            yield from _walk(item, depth - 1)
    elif isinstance(value, Mapping):
        yield from _members(value, depth)


def _members(members: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    value = {key.lower(): each for key, each in members.items()}
    if len(value) == 1 and isinstance(only := next(iter(value.values())), Mapping):
        yield from _walk(only, depth - 1)  # XML's root
        return
    for key in _CODES:
        if isinstance(value.get(key), str | int):
            yield "code", one_line(str(value[key]))
    for key in _TEXTS:
        if isinstance(value.get(key), str) and value[key].strip():
            yield "text", value[key]
            break
    for key in _INSIDE:
        if key in value and not (key == "message" and isinstance(value[key], str)):
            yield from _walk(value[key], depth - 1)
