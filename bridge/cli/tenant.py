"""`bridge tenant`: puts a tenants folder into force, and shows what is in force. A file a command."""

import click

from bridge.cli.tenant_apply import apply
from bridge.cli.tenant_list import list_tenants
from bridge.cli.tenant_pause import pause, resume
from bridge.cli.tenant_pull import pull_tenants
from bridge.cli.tenant_versions import rollback, versions


@click.group()
def tenant() -> None:
    """Put tenants into force, list them, take them back, pause them."""


for _command in (apply, list_tenants, pull_tenants, versions, rollback, pause, resume):
    tenant.add_command(_command)
