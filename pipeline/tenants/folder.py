"""A tenants folder as tenants: each one complete and checked, with everything that is wrong with it at once.

Layout: `<folder>/<tenant>/tenant.yaml`, `mappings/*.yaml`, `lookups/*.csv`, `wsdl/*`. Reference: docs/configuration.md.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from connectors.protocol import KindUnusable, SettingsInvalid
from connectors.registry import connection_files
from pipeline.jail.renderer import Renderer
from pipeline.mapping import Lookup, MappingFacts
from pipeline.problems import ConfigurationInvalid, Problems
from pipeline.quantities import check_name
from pipeline.tenants.mapping_files import MappingFiles, SharedFiles, parse_lookups, read_text
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant
from pipeline.tenants.tenant_reader import WrittenRoute, WrittenTenant, read_tenant
from pipeline.yaml_nodes import MappingNode, Mark, Node, YamlError, nearest
from pipeline.yaml_tree import load

FILE = "tenant.yaml"


@dataclass(frozen=True, slots=True)
class FolderRead:
    """What a tenants folder holds. invalid: what is wrong with a tenant, by its name; it is not among `tenants`."""

    tenants: tuple[Tenant, ...]
    invalid: dict[str, ConfigurationInvalid]

    @property
    def problems(self) -> tuple[YamlError, ...]:
        return tuple(problem for invalid in self.invalid.values() for problem in invalid.problems)


async def load_tenants(folder: Path, shipped: Path, renderer: Renderer) -> FolderRead:
    """Reads and checks every tenant. shipped: the folder of shipped mappings.

    Raises:
        YamlError: there is no such folder.
        ConfigurationInvalid: two tenants have one key. RendererBroken.
    """
    tenants: list[Tenant] = []
    invalid: dict[str, ConfigurationInvalid] = {}
    keys, shared = Problems(), SharedFiles()
    owners: dict[str, Mark] = {}
    for path in _tenants_folders(folder):
        try:
            reading = _Reading(path, shipped, shared, renderer)
            keys.attempt(partial(_check_key_is_free, reading.written, owners), None)
            tenants.append(await reading.tenant())
        except YamlError as problem:
            invalid[path.name] = ConfigurationInvalid([problem])
        except ConfigurationInvalid as problems:
            invalid[path.name] = problems
    keys.raise_any()
    return FolderRead(tuple(tenants), invalid)


def _tenants_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise YamlError(
            Mark(str(folder), 1, 1),
            "there is no such folder; make it, with a folder for each tenant and its tenant.yaml in it",
        )
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


async def load_tenant(folder: Path, shipped: Path, renderer: Renderer) -> Tenant:
    """One tenant, of its own folder. Raises YamlError, ConfigurationInvalid, RendererBroken."""
    return await _Reading(folder, shipped, SharedFiles(), renderer).tenant()


def _check_key_is_free(written: WrittenTenant, owners: dict[str, Mark]) -> None:
    mark = written.key_node.mark
    owner = owners.setdefault(written.key, mark)
    if owner is not mark:
        raise YamlError(
            mark,
            f"key: {written.key!r} is already the key of the tenant in {owner}; a key belongs to one tenant: "
            "put both tenants' connections and routes into one folder, or mend one of the keys",
        )


class _Reading:
    """One tenant's folder on its way to being a Tenant."""

    def __init__(self, folder: Path, shipped: Path, shared: SharedFiles, renderer: Renderer) -> None:
        """Raises YamlError, ConfigurationInvalid, where tenant.yaml by itself is wrong."""
        self._name = check_name(folder.name, Mark(str(folder), 1, 1), "a tenant's name (its folder)")
        self._files = MappingFiles(folder, shipped, shared)
        self._renderer = renderer
        self._compiled: dict[str, MappingFacts | None] = {}
        self._problems = Problems()
        if not (folder / FILE).exists():
            raise YamlError(
                Mark(str(folder), 1, 1), f"has no {FILE}; write one, or move the folder to another place"
            )
        self._text = read_text(folder / FILE, folder)
        self._root = load(self._text, str(folder / FILE))
        self.written = read_tenant(self._name, self._root)

    async def tenant(self) -> Tenant:
        """Raises YamlError, ConfigurationInvalid, RendererBroken."""
        files, problems, written = self._files, self._problems, self.written
        texts = files.lookups()
        lookups = parse_lookups(files, texts)
        for name in files.own:
            await self._compile(name, lookups)
        connections = {}
        for name, connection in written.connections.items():
            with problems.kept():
                connections[name] = self._with_files(connection)
        routes: dict[str, Route] = {}
        for name, written_route in written.routes.items():
            with problems.kept():
                if (route := await self._route(written_route, lookups)) is not None:
                    routes[name] = route
        problems.raise_any()
        used = {*files.own, *(route.mapping for route in routes.values())}
        return Tenant(
            name=self._name,
            key=written.key,
            timezone=written.timezone,
            connections=connections,
            routes=routes,
            mappings={name: files.stored(name) for name in sorted(used)},
            lookups=texts,
            written=self._text,
        )

    def _with_files(self, connection: Connection) -> Connection:
        """With the files that its options name, as the version holds them. Raises YamlError."""
        try:
            files = connection_files(connection.connector, connection.options, self._files.beside)
        except SettingsInvalid as error:
            node: Node | None = self._root
            for key in ("connections", connection.name, error.key):
                node = node.get(key) if isinstance(node, MappingNode) else None
            where = f"connections.{connection.name}.{error.key}"
            raise (node or self._root).error(f"{where}: {error.message}") from None
        except KindUnusable as error:
            raise self._root.error(f"connections.{connection.name}: {error}") from None
        except YamlError as error:
            raise YamlError(error.mark, f"{error.message}; connections.{connection.name} needs it") from None
        return replace(connection, files=files) if files else connection

    async def _compile(self, name: str, lookups: dict[str, Lookup]) -> MappingFacts | None:
        """Each mapping once, its findings once; None where it has any."""
        if name not in self._compiled:
            self._compiled[name] = None
            with self._problems.kept():
                self._compiled[name] = await self._files.compile(name, lookups, self._renderer)
        return self._compiled[name]

    async def _route(self, route: WrittenRoute, lookups: dict[str, Lookup]) -> Route | None:
        node = route.node.require("mapping")
        name = self._files.find(node)
        mapping = await self._compile(name, lookups)
        if mapping is None:
            return None
        kind = self.written.connections[route.connection].connector
        if kind != mapping.connector:
            raise node.error(
                f"{node.mark.path}: mapping {name!r} is for the connector {mapping.connector!r}, connection "
                f"{route.connection!r} is {kind!r}"
            )
        if wrong := mapping.check_params(route.params):
            params = route.node.get("params") or route.node
            raise ConfigurationInvalid(
                [params.error(f"{route.node.mark.path}.params: {each}") for each in wrong]
            )
        for asked in sorted(mapping.routes_read - self.written.routes.keys()):
            raise node.error(
                f"{node.mark.path}: mapping {name!r} asks what route {asked!r} saved, and this tenant has none"
                f"{nearest(asked, self.written.routes)}"
            )
        source = mapping.source
        return Route(
            name=route.name,
            source=RouteSource(source.table, tuple(sorted(source.operations)), source.tenant_any),
            mapping=name,
            connection=route.connection,
            params=route.params,
            retry=route.retry,
            deadline_s=route.deadline_s,
            on_dead_letter=route.on_dead_letter,
            orders=mapping.orders,
        )
