"""The connector kinds, by the names mappings and connections use: ours, and those of plug-ins (`connectors.plug_ins`)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from connectors.plug_ins import PlugIns
from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    ConnectorKind,
    KindUnusable,
    Outcome,
    Prepared,
    RequestShape,
)

_KINDS: Mapping[str, str] = {
    "graphql": "connectors.graphql",
    "jsonrpc": "connectors.jsonrpc",
    "rest": "connectors.rest",
    "soap": "connectors.soap",
}
PLUG_INS = PlugIns()
"""Of this process."""


class UnknownKind(KindUnusable):
    """No connector has this name."""


def kinds() -> tuple[str, ...]:
    return tuple(sorted({*_KINDS, *PLUG_INS.found}))


def shape(kind: str) -> RequestShape:
    """Which keys a mapping's `request:` may have. Raises KindUnusable, NotTold."""
    if kind in _KINDS:
        return _ours(kind).SHAPE
    _check_known(kind)
    return PLUG_INS.found[kind].shape()


def prepare(kind: str, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """What a connection of this kind would send, with no connection. Raises KindUnusable, RequestInvalid."""
    return _found(kind).prepare(request, idempotency_key)


def check_request(kind: str, request: Mapping[str, Any]) -> None:
    """Raises RequestInvalid for what cannot be sent. Loads no plug-in: its kinds are not asked."""
    if kind in _KINDS:
        _ours(kind).prepare(request, "check")


def judged(kind: str, request: Mapping[str, Any], answer: Answer) -> Outcome | None:
    """What an answer means to a kind that offers to say so (`judge`); None where its status is all. Loads no plug-in."""
    judge = getattr(_ours(kind), "judge", None) if kind in _KINDS else None
    return None if judge is None else cast(Outcome, judge(request, answer))


def check_settings(kind: str, settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved, as `${secret:NAME}`. Raises KindUnusable, SettingsInvalid."""
    _found(kind).check_settings(settings)


def connection_files(kind: str, options: Mapping[str, Any], read: Callable[[str], str]) -> dict[str, str]:
    """The tenant's files that a connection names, by their paths below its folder. read: one's text, by its path.

    Raises KindUnusable, SettingsInvalid, and what `read` raises.
    """
    files = getattr(_found(kind), "connection_files", None)
    return {} if files is None else files(options, read)


def showing(kind: str, settings: ConnectionSettings) -> Callable[[Prepared], dict[str, Any]]:
    """What shows a request as a connection would send it, as far as that takes no network and no secret. Its making blocks,
    and what it gives raises RequestInvalid. Loads no plug-in.
    """
    shows = getattr(_ours(kind), "showing", None) if kind in _KINDS else None
    return Prepared.to_json if shows is None else cast(Callable[[Prepared], dict[str, Any]], shows(settings))


def open_connector(kind: str, settings: ConnectionSettings) -> Connector:
    """A connection, still with no network touched. Raises KindUnusable, SettingsInvalid."""
    return _found(kind).open_connector(settings)


def shadowed() -> tuple[str, ...]:
    """What people should know of plug-ins whose names are ours: those are never used."""
    found = PLUG_INS.found
    return tuple(
        f"the package {found[name].packages} offers a connector {name!r}, which is ours: it is not used; "
        "give it another name in its entry point"
        for name in sorted(_KINDS.keys() & found.keys())
    )


def _found(kind: str) -> ConnectorKind:
    if kind in _KINDS:
        return _ours(kind)
    _check_known(kind)
    return PLUG_INS.found[kind].kind()


def _ours(kind: str) -> ConnectorKind:
    return cast(ConnectorKind, import_module(_KINDS[kind]))


def _check_known(kind: str) -> None:
    if kind not in PLUG_INS.found:
        raise UnknownKind(f"no connector is called {kind!r}: there is {', '.join(kinds())}")
