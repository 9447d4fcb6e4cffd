"""What several processes say, on one stderr: with their names before it for people, as JSON lines for machines."""

import json
import sys
from datetime import UTC, datetime
from typing import TextIO

import click

from bridge.redaction import redact

_ENDED = "bridge: "
"""How the message begins with which one of our commands ends."""
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


class ProcessOutput:
    """Lines of named processes. as_json: JSON lines pass as they are, other lines become the `event` of one."""

    def __init__(
        self, names: tuple[str, ...], stream: TextIO | None = None, *, as_json: bool | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._as_json = not self._stream.isatty() if as_json is None else as_json
        self._width = max(map(len, names), default=0)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}

    @property
    def format(self) -> str:
        """What the processes' `$BRIDGE_LOG_FORMAT` is to be."""
        return "json" if self._as_json else "text"

    def say(self, process: str, line: str) -> None:
        """One line, without its line break."""
        line = redact(line)
        if not self._as_json:
            click.echo(f"{self._name(process)} │ {line}", file=self._stream)
        elif line.startswith("{"):
            click.echo(line, file=self._stream)
        else:
            click.echo(_record(process, line), file=self._stream)

    def _name(self, process: str) -> str:
        return click.style(process.ljust(self._width), fg=self._colours.get(process))


def _record(process: str, line: str) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    level = "error" if line.startswith(_ENDED) else "info"
    members = {"process": process, "event": line, "level": level, "timestamp": now}
    return json.dumps(members, ensure_ascii=False)
