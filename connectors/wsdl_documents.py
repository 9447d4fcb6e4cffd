"""The documents a WSDL is made of: itself, and what it imports and includes, each by its URL. Pure: others fetch them.

What stands in a tenant's folder has a URL below FILES, so that relative locations work the same way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from connectors.safe_xml import XmlUnreadable, parse_xml
from connectors.soap_encoding import STAND_INS

FILES = "https://files.invalid/"
"""Where the tenant's files stand: a name that never resolves (RFC 6761, 6.4)."""
MOST = 200
"""NetSuite's WSDL, one of the largest in use, has 42 documents."""
LARGEST = 8 * 2**20
"""Bytes of all documents together: what is made of them takes thirty times as much, as long as a connection is open."""
_WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
_XSD = "{http://www.w3.org/2001/XMLSchema}"
_LOCATIONS = {
    f"{_WSDL}import": "location",
    f"{_XSD}import": "schemaLocation",
    f"{_XSD}include": "schemaLocation",
    f"{_XSD}redefine": "schemaLocation",
}
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")


class WsdlInvalid(ValueError):
    """It cannot be used: says which document, and why."""


@dataclass
class WsdlDocuments:
    """root: the WSDL's URL. found: documents by URL."""

    root: str
    found: dict[str, bytes] = field(default_factory=dict)
    _wanted: list[str] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        self._wanted.append(self.root)

    def missing(self) -> str | None:
        """A document that is still to be had; None: all are there."""
        return self._wanted[-1] if self._wanted else None

    def skip(self) -> None:
        """What `missing` asked for last is somebody else's to add."""
        self._wanted.pop()

    def add(self, content: bytes) -> None:
        """What `missing` asked for last. Raises WsdlInvalid."""
        url = self._wanted.pop()
        self._size += len(content)
        if self._size > LARGEST:
            raise WsdlInvalid(f"{shown(url)}: the WSDL's documents are more than {LARGEST} bytes together")
        try:
            root = parse_xml(content)
        except XmlUnreadable as error:
            raise WsdlInvalid(f"{shown(url)} {error}") from None
        self.found[url] = content
        for location in dict.fromkeys(_references(root, url)):
            if location in self.found or location in self._wanted:
                continue
            if location in STAND_INS:
                self.found[location] = STAND_INS[location]
                continue
            if len(self.found) + len(self._wanted) >= MOST:
                raise WsdlInvalid(f"{shown(url)}: the WSDL is made of more than {MOST} documents")
            self._wanted.append(location)


def _references(root: Any, url: str) -> Iterator[str]:
    """Raises WsdlInvalid for a location that is neither http(s) nor a file beside a file."""
    for node in root.iter(*_LOCATIONS):
        location = node.get(_LOCATIONS[node.tag])
        if not location:
            continue
        try:
            found = urljoin(url, location.strip())
            scheme = urlsplit(found).scheme
        except ValueError as error:
            raise WsdlInvalid(f"{shown(url)} imports {location!r}: {error}") from None
        if scheme not in {"http", "https"}:
            raise WsdlInvalid(f"{shown(url)} imports {location!r}: only http and https are read")
        yield found.partition("#")[0]


def file_url(path: str) -> str:
    """path: below the tenant's folder."""
    return FILES + path


def file_path(url: str) -> str | None:
    """The path below the tenant's folder; None where the URL is another's."""
    return url.removeprefix(FILES) if url.startswith(FILES) else None


def file_content(text: str) -> bytes:
    """A stored file's bytes: UTF-8, whatever its declaration says it was once."""
    return _DECLARATION.sub("", text.removeprefix("\ufeff"), count=1).encode()


def shown(url: str) -> str:
    """As people know it. A query may hold what is nobody's business."""
    path = file_path(url)
    return url.partition("?")[0] if path is None else path
