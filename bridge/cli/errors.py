"""What a command tells its user when it cannot do what was asked: one message on stderr and an exit code.

Exit codes (see docs/configuration.md): 0 done; 1 it ran, and what it checks does not hold or needs a decision;
2 wrong use or invalid configuration; 3 a server could not be reached or refused the login at start.
"""

from typing import IO, Any

import click

from bridge.redaction import redact


class CommandError(click.ClickException):
    """Ends the command with its class's exit code; the message names what happened, where, and what to do next."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"bridge: {self.message}", file=file, err=True)


class Findings(CommandError):
    """It ran, and what it checks does not hold, or it cannot go on without a decision."""

    exit_code = 1


class Usage(CommandError):
    """Wrong use or invalid configuration; the message names file, line, key and remedy."""

    exit_code = 2


class Unreachable(CommandError):
    """A server could not be reached, or refused the login, at start."""

    exit_code = 3
