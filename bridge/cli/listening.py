"""`--listen`, and what is served there beside a command's work."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import click

from bridge.listen import Listen
from bridge.settings import Settings
from eventbus.condition import Condition


def listen_argument(_context: click.Context, _option: click.Parameter, value: str | None) -> Listen | None:
    """For an option that takes an address."""
    try:
        return None if value is None else Listen.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


listen_option = click.option(
    "--listen",
    callback=listen_argument,
    metavar="HOST:PORT",
    help="Serve /metrics, /healthz and /readyz there; default: http.listen of bridge.yaml, else nowhere.",
)
"""Gives the command `listen: Listen | None`, for `endpoints`."""


def endpoints(
    settings: Settings, listen: Listen | None, condition: Callable[[], Condition]
) -> AbstractAsyncContextManager[None]:
    """For `run_service`: the endpoints at `listen`, else where bridge.yaml says, else nowhere."""
    chosen = listen or settings.listen
    if chosen is None:
        return nullcontext()
    # an HTTP server takes a tenth of a second to import, and most commands serve nothing
    from bridge.endpoints import endpoints_served  # noqa: PLC0415

    return endpoints_served(chosen, condition)
