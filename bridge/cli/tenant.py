"""`bridge tenant`: puts a tenants folder into force, and shows what is in force. A file a command."""

import click

from bridge.cli.tenant_apply import apply
from bridge.cli.tenant_list import list_tenants
from bridge.cli.tenant_pause import pause, resume


@click.group()
def tenant() -> None:
    """Put tenants into force, list them, pause them."""


for _command in (apply, list_tenants, pause, resume):
    tenant.add_command(_command)
