"""What differs between two versions of a tenant, in words for people. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.mapping_text import MappingText
from pipeline.tenants.model import Tenant, same_version


def changes(before: Tenant | None, after: Tenant) -> list[str]:
    """One line for each difference; none where both say the same. Nothing secret is in a version."""
    if before is None:
        return [f"new, with key {after.key!r}: {_counted(after)}"]
    if same_version(before, after):
        return []
    lines = [
        f"{name}: {old!r} → {new!r}"
        for name, old, new in (("key", before.key, after.key), ("timezone", before.timezone, after.timezone))
        if old != new
    ]
    lines += _members("connection", before.connections, after.connections)
    lines += _members("route", before.routes, after.routes)
    lines += _members("mapping", _texts(before), _texts(after))
    lines += _members("lookup", before.lookups, after.lookups)
    # what differs otherwise, such as 1 and 1.0 among the params
    return lines or ["changed"]


def _texts(tenant: Tenant) -> dict[str, MappingText]:
    return {name: mapping.said for name, mapping in tenant.mappings.items()}


def _counted(tenant: Tenant) -> str:
    parts = [("connection", tenant.connections), ("route", tenant.routes)]
    return ", ".join(f"{len(of)} {word}{'' if len(of) == 1 else 's'}" for word, of in parts)


def _members(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"{what} {name} added"
        elif name not in after:
            yield f"{what} {name} removed"
        elif before[name] != after[name]:
            yield f"{what} {name} changed{_fields(before[name], after[name])}"


def _fields(before: object, after: object) -> str:
    old, new = (msgspec.to_builtins(one) for one in (before, after))
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return ""
    names = sorted(
        name.removesuffix("_s")  # as tenant.yaml has it: `timeout`
        for name in {*old, *new}
        if old.get(name) != new.get(name) and name != "text"
    )
    return f": {', '.join(names)}" if names else ""
