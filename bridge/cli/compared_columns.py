"""What `bridge cdc check` learns of the tenants folder: the columns whose row before the mappings compare."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import aclosing

from bridge.settings import Settings
from bridge.shipped_files import shipped
from pipeline.jail.renderer import Renderer
from pipeline.mapping import MappingInvalid
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.mapping_files import compiled
from pipeline.tenants.model import Tenant
from pipeline.yaml_nodes import YamlError


async def compared_columns(settings: Settings) -> dict[str, set[str]]:
    """By `schema.table`; empty where the folder cannot be read: `bridge tenant apply` says why. Raises RendererBroken."""
    async with aclosing(Renderer()) as renderer:
        try:
            read = await load_tenants(settings.tenants, shipped("templates"), renderer)
        except (YamlError, ConfigurationInvalid):
            return {}
        return await _compared(read.tenants, renderer)


async def _compared(tenants: Iterable[Tenant], renderer: Renderer) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    routes = [(tenant, route) for tenant in tenants for route in tenant.routes.values()]
    for tenant, route in routes:
        if "update" not in route.source.operations:
            continue
        written = tenant.mappings[route.mapping]
        try:
            mapping = await compiled(renderer, written, route.mapping)
        except MappingInvalid:
            continue
        found[route.source.table] |= mapping.compared
    return dict(found)
