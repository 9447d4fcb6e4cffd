"""Logs on stderr: JSON lines for machines, colours for a terminal, secrets for nobody."""

import logging
import os
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from bridge.redaction import redact

_SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "dsn", "credential", "cookie")
_LEVEL_VARIABLE = "BRIDGE_LOG_LEVEL"
_FORMAT_VARIABLE = "BRIDGE_LOG_FORMAT"
_PROCESS_VARIABLE = "BRIDGE_PROCESS"

Event = MutableMapping[str, Any]


def hide_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Drops what is named like a secret, and takes passwords out of every text."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = "…"
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


@lru_cache(1_000)
def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def set_up_logging() -> None:
    """Once per process. `$BRIDGE_LOG_LEVEL`: debug, info (the default), warning or error.

    `$BRIDGE_LOG_FORMAT` (json, text) and `$BRIDGE_PROCESS` (a name for the lines) are what `bridge up` tells its
    children.
    """
    level = logging.getLevelNamesMapping().get(os.environ.get(_LEVEL_VARIABLE, "info").upper(), logging.INFO)
    asked = os.environ.get(_FORMAT_VARIABLE)
    on_terminal = sys.stderr.isatty() if asked is None else asked == "text"
    if not on_terminal and (process := os.environ.get(_PROCESS_VARIABLE)):
        structlog.contextvars.bind_contextvars(process=process)
    structlog.configure(
        processors=processors(on_terminal=on_terminal),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # what libraries say through the standard library: only what somebody should act on
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


_encoder = msgspec.json.Encoder(enc_hook=repr)


def _as_json(event: Event, **_options: object) -> str:
    """Ten times quicker than the standard library's: a worker writes a line for each attempt."""
    return _encoder.encode(event).decode()


def processors(*, on_terminal: bool) -> list[Any]:
    """What a line goes through."""
    if on_terminal:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        rendered: Any = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        rendered = structlog.processors.JSONRenderer(serializer=_as_json)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        stamp,
        # a traceback is text too, and tells what a server or a library said
        structlog.processors.format_exc_info,
        hide_secrets,
        rendered,
    ]
