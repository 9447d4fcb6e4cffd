"""A tenant's versions: what each says, who put it into force, when and why. Pure.

A version's value in the bucket `TENANTS` is the tenant alone; who wrote it stands in a header, so that a removal has it
too. The time is the server's, when it was stored.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import msgspec

from eventbus.wire import header_lines
from pipeline.tenants.changes import changes
from pipeline.tenants.model import Tenant

HEADER = "Bridge-Written"
How = Literal["apply", "rollback", "remove"]


@dataclass(frozen=True, slots=True)
class Written:
    """by: who; why: in that person's words, or empty; of: the revision that a rollback brought back."""

    by: str = ""
    why: str = ""
    how: How = "apply"
    of: int = 0

    def header(self) -> bytes:
        """As a header line; JSON's escapes keep line breaks out of it."""
        return header_lines({HEADER: json.dumps(asdict(self))})


_decoder = msgspec.json.Decoder(Written)


def read_written(headers: Mapping[str, str]) -> Written:
    """Who wrote a version; nobody knows where the header is missing or not ours."""
    try:
        return _decoder.decode(headers.get(HEADER, "{}"))
    except msgspec.DecodeError:
        return Written()


@dataclass(frozen=True, slots=True)
class Version:
    """One revision of a tenant. time: seconds since the epoch; tenant: None where it was removed, or `unreadable`.

    unreadable: why what is stored cannot be read, as when a newer bridge wrote it; else empty.
    """

    name: str
    revision: int
    time: float
    written: Written
    tenant: Tenant | None
    unreadable: str = ""

    @property
    def removed(self) -> bool:
        return self.tenant is None and not self.unreadable


def differences(versions: Iterable[Version], *, first_kept: bool) -> list[tuple[Version, tuple[str, ...]]]:
    """Each version, oldest first, with what it changed against the one before.

    first_kept: whether the first of them is the tenant's first; what an older one said is not known else.
    """
    found: list[tuple[Version, tuple[str, ...]]] = []
    before, known = None, first_kept
    for version in versions:
        found.append((version, tuple(_lines(before, version, known=known))))
        before, known = version.tenant, not version.unreadable
    return found


def _lines(before: Tenant | None, version: Version, *, known: bool) -> list[str]:
    if version.unreadable:
        return [version.unreadable]
    if version.tenant is None:
        return ["removed"]
    return changes(before, version.tenant) if known else []
