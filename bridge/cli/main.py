"""The console script `bridge`: its command groups, each imported when it is asked for.

So `bridge --help` answers at once, and no command pays for another's imports.
"""

import importlib
import os
import traceback
from typing import Any

import click

from bridge.cli.errors import CommandError, Findings, Unreachable, Usage

_COMMANDS = {
    "cdc": ("bridge.cli.cdc", "Capture: set up, check and read a PostgreSQL source."),
    "console": ("bridge.cli.console", "Take in webhooks."),
    "demo": ("bridge.cli.demo", "Everything on this machine, with a live workload and simulated ERPs."),
    "dlq": ("bridge.cli.dlq", "Dead letters: what is stuck and why; replay or discard it."),
    "mapping": ("bridge.cli.mapping", "Check mappings and preview what they would send."),
    "run": ("bridge.cli.run", "Route, transform and deliver."),
    "secret": ("bridge.cli.secret", "Keep the tenants' credentials, encrypted."),
    "tenant": ("bridge.cli.tenant", "Put tenants into force, list them, pause them."),
    "up": ("bridge.cli.up", "Capture, routing and delivery on one machine, supervised."),
}
"""Command: its module, which holds a click command of the same name, and its line in the help."""


class LazyGroup(click.Group):
    """Knows its commands by name; ends every error in a message and an exit code, never in a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — click's signature
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 — click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in sorted(_COMMANDS)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise  # whoever read our output has left: click ends in silence
        except Exception as error:  # noqa: BLE001 — the one place that turns all errors into words
            raise as_command_error(error) from None


def as_command_error(error: Exception) -> CommandError:
    """The message and exit code for an error that no command turned into its own words."""
    if isinstance(error, ImportError):
        return CommandError(f"this installation is not whole: {error}; install fracttal-bridge again")
    # imported when something went wrong: `bridge --help` pays for none of it
    from bridge.demo.server_process import ServerFailed  # noqa: PLC0415
    from bridge.listen import AddressUnavailable  # noqa: PLC0415
    from eventbus.errors import ConnectionLost, EventBusError, NatsRefused, NatsUnreachable, NoAnswer  # noqa: PLC0415
    from eventbus.topology import NoRoom, TopologyDiffers  # noqa: PLC0415
    from pipeline.jail.pool import RendererBroken  # noqa: PLC0415
    from pipeline.problems import ConfigurationInvalid  # noqa: PLC0415
    from pipeline.yaml_nodes import YamlError  # noqa: PLC0415

    match error:
        case YamlError() | ConfigurationInvalid() | TopologyDiffers() | NoRoom() | AddressUnavailable():
            return Usage(str(error))
        case NatsUnreachable() | NatsRefused() | ConnectionLost() | NoAnswer() | ServerFailed():
            return Unreachable(str(error))
        case EventBusError() | RendererBroken():
            return Findings(str(error))
    return _defect(error)


def _defect(error: Exception) -> CommandError:
    if os.environ.get("BRIDGE_TRACEBACK"):
        raise error
    where = traceback.extract_tb(error.__traceback__)[-1]
    return CommandError(
        f"{type(error).__name__}: {error} ({where.filename}:{where.lineno}). This is a defect of the bridge: "
        "please report it, with what BRIDGE_TRACEBACK=1 shows"
    )


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fracttal-bridge", prog_name="bridge")
def main() -> None:
    """Fracttal Bridge: every change in PostgreSQL, delivered to each tenant's ERP."""
