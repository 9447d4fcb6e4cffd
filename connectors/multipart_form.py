"""A tree as `multipart/form-data` (RFC 7578): fields, and files whose content is text, JSON or base64. Pure.

    {note: "a text", order: {json: {id: 7}}, photo: {filename: pump.jpg, content_type: image/jpeg, base64: "/9j/4AA…"}}

A list repeats its name, null leaves it out, and so does a file whose content is null. The boundary comes from the request's
idempotency key, so that the same request is the same bytes.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from connectors.http_request import json_payload, plain_text
from connectors.protocol import RequestInvalid

_CONTENTS = ("text", "base64", "json")
_KEYS = (*_CONTENTS, "filename", "content_type")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+\w-]+/[!#$&^_.+\w-]+( *;[ -~]*)?", re.ASCII)
_BLANKS = re.compile(r"[\s]+")
# what would end the quoted name or the line; the HTML standard, 4.10.21.8, which RFC 7578's servers follow
_ESCAPED = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


@dataclass(frozen=True, slots=True)
class _Part:
    """shown: as the preview has it."""

    shown: Mapping[str, Any]
    head: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MultipartForm:
    """shown: its parts, JSON values alone."""

    boundary: str
    shown: list[Mapping[str, Any]]
    content: bytes


def check_form(tree: Any) -> None:
    """Raises RequestInvalid."""
    _parts(tree)


def multipart_form(tree: Any, idempotency_key: str) -> MultipartForm:
    """Raises RequestInvalid."""
    parts = _parts(tree)
    boundary = free_boundary("form", idempotency_key, [part.content for part in parts])
    sections = [f"--{boundary}\r\n{part.head}\r\n\r\n".encode() + part.content + b"\r\n" for part in parts]
    return MultipartForm(
        boundary, [part.shown for part in parts], b"".join([*sections, f"--{boundary}--\r\n".encode()])
    )


def free_boundary(what: str, idempotency_key: str, contents: list[bytes]) -> str:
    """One that stands in none of the contents, the same for the same ones (RFC 2046, 5.1.1)."""
    digest = sha256(idempotency_key.encode("utf-8", "surrogatepass"))
    while True:
        boundary = f"{what}_{digest.hexdigest()[:32]}"
        if not any(boundary.encode() in content for content in contents):
            return boundary
        digest.update(b"again")


def _parts(tree: Any) -> list[_Part]:
    if not isinstance(tree, Mapping):
        raise RequestInvalid("request.multipart must be names and fields or files")
    parts = [
        part
        for name, value in tree.items()
        for each in (value if isinstance(value, list) else [value])
        for part in _part(name, each)
    ]
    if not parts:
        raise RequestInvalid("request.multipart holds nothing: every field of it is null")
    return parts


def _part(name: str, value: Any) -> Iterator[_Part]:
    """At most one."""
    where = f"request.multipart.{name}"
    file = value if isinstance(value, Mapping) else {"text": value}
    kinds = [key for key in _CONTENTS if key in file]
    if unknown := sorted(set(file) - set(_KEYS)):
        raise RequestInvalid(f"{where}: a part has {', '.join(_KEYS)}, not {unknown[0]!r}")
    if len(kinds) != 1:
        raise RequestInvalid(f"{where}: a part has one of {', '.join(_CONTENTS)}, this has {len(kinds)}")
    kind, given = kinds[0], file[kinds[0]]
    if given is None and kind != "json":
        return
    filename, media_type = file.get("filename"), _media_type(kind, file, where)
    head = f'Content-Disposition: form-data; name="{_quoted(name, where)}"'
    shown: dict[str, Any] = {"name": name}
    if filename is not None:
        shown["filename"] = plain_text(f"multipart.{name}.filename", filename)
        head += f'; filename="{_quoted(shown["filename"], where)}"'
    if media_type is not None:
        shown["content_type"] = media_type
        head += f"\r\nContent-Type: {media_type}"
    content = _content(kind, given, where)
    shown[kind] = given if kind != "text" else content.decode()
    yield _Part(shown, head, content)


def _media_type(kind: str, file: Mapping[str, Any], where: str) -> str | None:
    given = file.get("content_type")
    if given is not None:
        if not isinstance(given, str) or not _MEDIA_TYPE.fullmatch(given):
            raise RequestInvalid(f"{where}.content_type must be one like application/pdf, this is {given!r}")
        return given
    if kind == "json":
        return "application/json"
    if file.get("filename") is None:
        return None if kind == "text" else "application/octet-stream"
    return "text/plain; charset=utf-8" if kind == "text" else "application/octet-stream"


def _content(kind: str, given: Any, where: str) -> bytes:
    if kind == "json":
        return json_payload(given)
    text = plain_text(f"{where.removeprefix('request.')}.{kind}", given)
    try:
        if kind == "text":
            return text.encode()
        return base64.b64decode(_BLANKS.sub("", text), validate=True)
    except UnicodeEncodeError:
        raise RequestInvalid(f"{where} holds half of a surrogate pair, which no text can carry") from None
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid(f"{where}.base64 is no base64 (RFC 4648, 4): {error}") from None


def _quoted(name: str, where: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RequestInvalid(f"{where} holds half of a surrogate pair, which no text can carry") from None
    return name.translate(_ESCAPED)
