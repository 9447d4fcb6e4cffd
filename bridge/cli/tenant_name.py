"""How commands are told a tenant: by its folder's name, or by its key, as `key:4711`."""

from bridge.cli.errors import Usage
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.quantities import MAX_NAME, NAME
from pipeline.tenants.store import TenantStore

_BY_KEY = "key:"


async def tenant_name(written: str, jetstream: JetStream, subjects: Subjects) -> str:
    """The tenant's name, which may not be in force yet; with `key:` the one in force that has it. Raises Usage."""
    if not written.startswith(_BY_KEY):
        if len(written) > MAX_NAME or not NAME.fullmatch(written):
            raise Usage(f"{written!r} cannot be a tenant: write its folder's name, or key:… with its key")
        return written
    key = written.removeprefix(_BY_KEY)
    for tenant in (await TenantStore(jetstream, subjects).all()).values():
        if tenant.key == key:
            return tenant.name
    raise Usage(f"no tenant in force has the key {key!r}; `bridge tenant list` shows them")
