"""What `bridge cdc check` learns of the tenants folder: the columns whose row before the mappings compare."""

from collections import defaultdict

from bridge.settings import Settings
from bridge.shipped_files import shipped
from pipeline.jail.blocking import compiled
from pipeline.mapping import MappingInvalid
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import load_tenants
from pipeline.yaml_nodes import YamlError


def compared_columns(settings: Settings) -> dict[str, set[str]]:
    """By `schema.table`; empty where the folder cannot be read: `bridge tenant apply` says why."""
    try:
        tenants = load_tenants(settings.tenants, shipped("templates")).tenants
    except (YamlError, ConfigurationInvalid):
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    routes = [(tenant, route) for tenant in tenants for route in tenant.routes.values()]
    for tenant, route in routes:
        if "update" not in route.source.operations:
            continue
        written = tenant.mappings[route.mapping]
        try:
            mapping = compiled(written, route.mapping)
        except MappingInvalid:
            continue
        found[route.source.table] |= mapping.compared
    return dict(found)
