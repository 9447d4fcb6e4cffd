"""Who runs a command and why, as records of it say."""

import getpass
import os
import socket

import click

from bridge.cli.errors import Usage

MAX_CHARACTERS = 200


def whoever_asks() -> str:
    """`user@host`."""
    return f"{_user()}@{socket.gethostname()}"


def _short(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value) > MAX_CHARACTERS:
        raise Usage(f"--{parameter.name} has at most {MAX_CHARACTERS} characters")
    return value


author_option = click.option(
    "--author",
    metavar="NAME",
    default=whoever_asks,
    callback=_short,
    help="Who does this, for the record; default: user@host.",
)
"""Gives the command `author: str`."""

why_option = click.option("--why", default="", metavar="TEXT", callback=_short, help="Why, for the record.")
"""Gives the command `why: str`."""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in /etc/passwd
        return f"uid {os.getuid()}"
