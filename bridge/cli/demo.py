"""`bridge demo`: the whole way on this machine, from installed wheels, judged at the end."""

import asyncio
import json
import tempfile
from pathlib import Path

import click
from rich.console import Console

from bridge.cli.context import json_option
from bridge.cli.errors import Findings, Usage
from bridge.cli.running import run_service
from bridge.demo.display import say, shown, verdict_text
from bridge.demo.judge import Verdict
from bridge.demo.scenario import Options, running

SHUTDOWN_TIMEOUT_S = 60.0


class DemoGroup(click.Group):
    """Loads the many simulated ERPs of `bridge demo erp`, and a GraphQL server with them, only for that command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's signature
        return ["erp"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — click's signature
        from bridge.cli.demo_erp import erp  # noqa: PLC0415 — see above

        return erp if cmd_name == "erp" else None


@click.group(cls=DemoGroup, invoke_without_command=True)
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="Commit N changes; default: no end.")
@click.option("--exit", "leave", is_flag=True, help="With --events: judge, print a summary and leave.")
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=40.0, show_default=True, help="Changes a second."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything in this new folder; default: a temporary one, removed at the end.",
)
@json_option
@click.pass_context
def demo(
    context: click.Context,
    events: int | None,
    folder: Path | None,
    rate: float,
    *,
    leave: bool,
    as_json: bool,
) -> None:
    """PostgreSQL, NATS JetStream, three simulated ERPs and `bridge up` on this machine, with a live workload.

    At the end the ERPs' own logs are compared with the tables' history: exit 0 only if nothing was lost, doubled
    or reordered.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if leave and events is None:
        raise Usage("--exit needs a number of changes: --events N")
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise Usage(f"--dir {folder}: is not empty; name a new folder")
    with tempfile.TemporaryDirectory(prefix="bridge-demo-", ignore_cleanup_errors=True) as temporary:
        options = Options((folder or Path(temporary)).resolve(), events, rate)
        verdict = run_service(
            lambda stop: _demo(options, stop, leave=leave, as_json=as_json), SHUTDOWN_TIMEOUT_S
        )
    if verdict is None:
        raise Findings("the demo was stopped before it could be judged")
    click.echo(json.dumps(verdict.to_json()) if as_json else verdict_text(verdict))
    if not verdict.holds:
        raise Findings("the demo does not hold; with --dir FOLDER everything is kept for a look")


def _refuse_options(context: click.Context) -> None:
    """What stands before the name of a command of this group would be lost without a word."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            raise Usage(
                f"{parameter.opts[0]} belongs to `bridge demo` itself; write it behind {context.invoked_subcommand} "
                "where that knows it"
            )


async def _demo(options: Options, stop: asyncio.Event, *, leave: bool, as_json: bool) -> Verdict:
    async with running(options, say) as demo_run:
        with shown(Console(stderr=as_json)) as show:
            verdict = await demo_run.run(stop, show)
        if not leave and not stop.is_set():
            say("all of it has arrived; Ctrl-C ends the demo")
            await stop.wait()
        return verdict
