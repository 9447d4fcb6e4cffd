"""What differs between two versions of a tenant line by line, as `diff -u` shows it. Pure."""

from collections.abc import Iterator
from difflib import unified_diff

from pipeline.tenants.model import Tenant


def text_difference(before: Tenant | None, after: Tenant | None) -> list[str]:
    """Lines without their breaks; none where no text differs. What a mapping extends or names is not shown."""
    old, new = (dict(_texts(one)) for one in (before, after))
    return [
        line
        for name in sorted({*old, *new})
        for line in unified_diff(
            old.get(name, "").splitlines(),
            new.get(name, "").splitlines(),
            f"{name} (before)",
            name,
            n=2,
            lineterm="",
        )
    ]


def _texts(tenant: Tenant | None) -> Iterator[tuple[str, str]]:
    if tenant is None:
        return
    yield "tenant.yaml", tenant.written
    for name, mapping in tenant.mappings.items():
        yield f"mappings/{name}.yaml", mapping.text
    for name, text in tenant.lookups.items():
        yield f"lookups/{name}.csv", text
    for connection in tenant.connections.values():
        yield from connection.files.items()
