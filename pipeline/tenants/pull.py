"""Writes tenants as they are in force into a folder, so that applying it changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.jail.renderer import Renderer
from pipeline.mapping_text import MappingText
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import FILE, load_tenant
from pipeline.tenants.mapping_files import CASES, SHIPPED
from pipeline.tenants.model import Tenant, same_version
from pipeline.yaml_nodes import YamlError


@dataclass(frozen=True, slots=True)
class Pulled:
    """written, removed: files of the tenant's folder; none: the folder said that already."""

    tenant: str
    revision: int
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


async def pull(tenant: Tenant, folder: Path, shipped: Path, renderer: Renderer) -> Pulled:
    """Into `<folder>/<tenant>`. A folder that says the same is left as it is, comments and all; cases are never touched.

    shipped: the folder of shipped mappings: one that the version has otherwise is written as the tenant's own.

    Raises:
        OSError: a file cannot be written. RendererBroken.
    """
    place = folder / tenant.name
    if await _says_the_same(place, tenant, shipped, renderer):
        return Pulled(tenant.name, tenant.revision)
    return _written(place, tenant, shipped)


def _written(place: Path, tenant: Tenant, shipped: Path) -> Pulled:
    wanted = _files(tenant, shipped)
    removed = [name for name in _there(place) if name not in wanted]
    written = [name for name, text in wanted.items() if not _holds(place / name, text)]
    for name in written:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # what it leads to is none of the tenant's
            path.unlink()
        path.write_bytes(wanted[name].encode())
    for name in removed:
        (place / name).unlink()
    return Pulled(tenant.name, tenant.revision, tuple(written), tuple(removed))


async def _says_the_same(place: Path, tenant: Tenant, shipped: Path, renderer: Renderer) -> bool:
    if not (place / FILE).is_file():
        return False
    try:
        return same_version(await load_tenant(place, shipped, renderer), tenant)
    except (YamlError, ConfigurationInvalid):
        return False


def _files(tenant: Tenant, shipped: Path) -> dict[str, str]:
    """What the folder has to hold, by path. The tenant's own go before shipped ones of the same name."""
    found = {FILE: tenant.written}
    texts = [each for mapping in tenant.mappings.values() for each in (mapping, *mapping.bases)]
    for mapping in sorted(texts, key=_is_shipped):
        if _is_shipped(mapping):
            name = PurePosixPath(mapping.file.removeprefix(SHIPPED))
            if not all(_holds(shipped / path, text) for path, text in _with_files(name, mapping)):
                for path, text in _with_files("mappings" / name, mapping):
                    found.setdefault(str(path), text)
        else:
            name = PurePosixPath("mappings" + mapping.file.partition("/mappings")[2])
            found |= {str(path): text for path, text in _with_files(name, mapping)}
    for connection in tenant.connections.values():
        found |= connection.files
    return found | {f"lookups/{name}.csv": text for name, text in tenant.lookups.items()}


def _is_shipped(mapping: MappingText) -> bool:
    return mapping.file.startswith(SHIPPED)


def _with_files(name: PurePosixPath, mapping: MappingText) -> Iterator[tuple[PurePosixPath, str]]:
    """The mapping itself, and the files that it names, which stand beside it."""
    yield name, mapping.text
    for beside, text in mapping.files.items():
        yield name.parent / beside, text


def _there(place: Path) -> list[str]:
    found = [path for path in place.glob("mappings/**/*.yaml") if not path.name.endswith(CASES)]
    return sorted(path.relative_to(place).as_posix() for path in [*found, *_others(place)])


def _others(place: Path) -> list[Path]:
    return [
        *place.glob("lookups/*.csv"),
        *(path for path in place.glob("wsdl/**/*") if path.is_file() and not path.name.startswith(".")),
    ]


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes().decode("utf-8-sig") == text
    except (OSError, UnicodeDecodeError):
        return False


def cannot_be_pulled(tenants: Mapping[str, Tenant]) -> list[str]:
    """Names of those whose version does not hold the text of its tenant.yaml: no folder was ever applied."""
    return sorted(name for name, tenant in tenants.items() if not tenant.written)
