"""Logs on stderr: JSON lines for machines, colours for a terminal, secrets for nobody."""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from bridge.redaction import redact

_SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "dsn", "credential", "cookie")
_LEVEL_VARIABLE = "BRIDGE_LOG_LEVEL"

Event = MutableMapping[str, Any]


def hide_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Drops what is named like a secret, and takes passwords out of every text."""
    for name, value in event.items():
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "…"
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


def set_up_logging() -> None:
    """Once per process. `$BRIDGE_LOG_LEVEL`: debug, info (the default), warning or error."""
    level = logging.getLevelNamesMapping().get(os.environ.get(_LEVEL_VARIABLE, "info").upper(), logging.INFO)
    on_terminal = sys.stderr.isatty()
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S" if on_terminal else "iso", utc=not on_terminal)
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if on_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # what libraries say through the standard library: only what somebody should act on
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
