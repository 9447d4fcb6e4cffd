"""The connector kinds, by the names mappings and connections use."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from connectors.protocol import ConnectionSettings, Connector, ConnectorKind, Prepared, RequestShape

_KINDS: Mapping[str, str] = {"rest": "connectors.rest"}
PLANNED = ("soap", "graphql", "jsonrpc")
"""Refused by name: not built yet."""


class UnknownKind(LookupError):
    """No connector has this name."""


def kinds() -> tuple[str, ...]:
    return tuple(sorted(_KINDS))


def shape(kind: str) -> RequestShape:
    """Which keys a mapping's `request:` may have. Raises UnknownKind."""
    return _module(kind).SHAPE


def prepare(kind: str, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """What a connection of this kind would send, with no connection. Raises UnknownKind, RequestInvalid."""
    return _module(kind).prepare(request, idempotency_key)


def check_settings(kind: str, settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved, as `${secret:NAME}`. Raises UnknownKind, SettingsInvalid."""
    _module(kind).check_settings(settings)


def open_connector(kind: str, settings: ConnectionSettings) -> Connector:
    """A connection, still with no network touched. Raises UnknownKind, SettingsInvalid."""
    return _module(kind).open_connector(settings)


def _module(kind: str) -> ConnectorKind:
    if kind not in _KINDS:
        raise UnknownKind(f"no connector is called {kind!r}: there is {', '.join(kinds())}")
    return cast(ConnectorKind, import_module(_KINDS[kind]))
