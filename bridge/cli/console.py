"""`bridge console`: takes in webhooks, until stopped."""

import asyncio
from pathlib import Path

import click

from bridge.asgi_server import bind
from bridge.cli.context import config_option, nats_servers
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.listening import listen_argument
from bridge.cli.running import run_service
from bridge.console.service import Console
from bridge.listen import Listen
from bridge.secret_keys import secret_keys
from bridge.settings import load_settings

DEFAULT = Listen("127.0.0.1", 8090)


@click.command()
@config_option
@click.option(
    "--listen",
    callback=listen_argument,
    metavar="HOST:PORT",
    help=f"Where to serve; default: http.listen of bridge.yaml, else {DEFAULT}.",
)
def console(config: Path, listen: Listen | None) -> None:
    """Take in webhooks: POST /intake/SOURCE/TENANT.

    Also answers /metrics, /healthz and /readyz. Put a proxy with TLS before it. The first SIGTERM or Ctrl-C answers
    what is under way, within shutdown_timeout.
    """
    settings = load_settings(config, with_sources=False, with_intake=True)
    if not settings.intake:
        raise Usage(f"{settings.file} has no `intake`: name who may send webhooks (docs/intake.md)")
    listening = bind(listen or settings.listen or DEFAULT)
    ready = asyncio.Event()

    async def serve(stop: asyncio.Event) -> None:
        async with event_bus(settings, "bridge console"):
            pass  # every stream and bucket is there
        running = Console(nats_servers(settings), settings.intake, secret_keys(settings), ready)
        await running.run(listening, stop)

    run_service(serve, settings.shutdown_timeout, ready)
