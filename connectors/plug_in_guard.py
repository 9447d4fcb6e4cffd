"""Holds other people's kinds to the protocol: what they do wrong is told with their package's name, and harms no lane.

Of what they raise against the protocol, the text is not repeated where they know secrets: its type and place say enough.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, get_args

import msgspec

from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    ConnectorKind,
    KindBroken,
    Outcome,
    Prepared,
    RequestInvalid,
    SettingsInvalid,
    Uncertain,
)

_TEXTS = {"message", "code"}
_OUTCOMES = get_args(Outcome)
_encoder = msgspec.json.Encoder(decimal_format="number")


class GuardedKind:
    """whose: how errors call it."""

    def __init__(self, kind: ConnectorKind, whose: str) -> None:
        self.SHAPE = kind.SHAPE
        self._kind = kind
        self._whose = whose

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        return _prepared(self._kind.prepare, request, idempotency_key, self._whose)

    def check_settings(self, settings: ConnectionSettings) -> None:
        try:
            self._kind.check_settings(settings)
        except SettingsInvalid:
            raise
        except Exception as error:  # noqa: BLE001 — see above
            raise KindBroken(f"{self._whose} cannot check the connection: {words(error)}") from None

    def connection_files(self, options: Mapping[str, Any], read: Callable[[str], str]) -> dict[str, str]:
        """See connectors.registry; where it offers none, there are none."""
        offered = getattr(self._kind, "connection_files", None)
        if offered is None:
            return {}
        reading = _Noted(read)
        try:
            files: Any = offered(options, reading)
        except SettingsInvalid:
            raise
        except Exception as error:
            if error is reading.raised:
                raise
            raise KindBroken(f"{self._whose} cannot say which files it needs: {words(error)}") from None
        if not _are_texts(files):
            raise KindBroken(f"{self._whose} gives files that are no texts by their paths")
        return dict(files)

    def open_connector(self, settings: ConnectionSettings) -> Connector:
        try:
            opened = self._kind.open_connector(settings)
        except SettingsInvalid:
            raise
        except Exception as error:  # noqa: BLE001 — see above
            raise KindBroken(f"{self._whose} cannot open the connection: {words(error)}") from None
        return GuardedConnector(opened, self._whose)


class GuardedConnector:
    """One connection of such a kind."""

    kind: ClassVar[str] = "plug-in"

    def __init__(self, connector: Connector, whose: str) -> None:
        self._connector = connector
        self._whose = whose

    def prepare(self, request: Mapping[str, Any], idempotency_key: str) -> Prepared:
        """See Connector.prepare."""
        return _prepared(self._connector.prepare, request, idempotency_key, self._whose)

    async def send(self, prepared: Prepared, permit: Callable[[], None] = lambda: None) -> Outcome:
        """See Connector.send. What the plug-in must not do is Uncertain: its request may have been sent."""
        permitted = _Noted(permit)
        try:
            outcome = await self._connector.send(prepared, permitted)
        except Exception as error:
            if error is permitted.raised:
                raise
            return self._defect(f"failed in a way it must not: {words(error)}")
        unsound = _unsound(outcome)
        return outcome if unsound is None else self._defect(unsound)

    def _defect(self, what: str) -> Uncertain:
        return Uncertain(f"{self._whose} {what}; the ERP may have processed the request", code="defect")

    async def aclose(self) -> None:
        with suppress(Exception):  # it is not used any more
            await self._connector.aclose()


class _Noted:
    """What is ours to call, and what it raised: that goes through."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.raised: BaseException | None = None

    def __call__(self, *given: Any) -> Any:
        try:
            return self._call(*given)
        except BaseException as error:
            self.raised = error
            raise


def _prepared(
    prepare: Callable[[Mapping[str, Any], str], Any],
    request: Mapping[str, Any],
    idempotency_key: str,
    whose: str,
) -> Prepared:
    try:
        prepared: Any = prepare(request, idempotency_key)
    except RequestInvalid:
        raise
    except Exception as error:  # noqa: BLE001 — see above
        raise RequestInvalid(f"{whose} cannot prepare the request: {words(error)}") from None
    if not isinstance(prepared, Prepared) or not _is_json(prepared.parts):
        raise RequestInvalid(f"{whose} prepares no connectors.protocol.Prepared whose parts are JSON values")
    sound: Prepared = prepared
    return sound


def _unsound(outcome: Any) -> str | None:
    """What would harm who settles, records or buries the delivery."""
    if not isinstance(outcome, _OUTCOMES):
        return f"gave no outcome, but {type(outcome).__name__}"
    if not all(isinstance(text := getattr(outcome, name, ""), str) and _is_json(text) for name in _TEXTS):
        return f"gave an outcome {type(outcome).__name__} whose message or code is no text"
    after = getattr(outcome, "after", None)
    if after is not None and not (isinstance(after, int | float) and 0 <= after < float("inf")):
        return f"gave an outcome {type(outcome).__name__} whose `after` is no number of seconds"
    answer = outcome.answer
    if answer is not None and not _is_sound(answer):
        return f"gave an outcome {type(outcome).__name__} whose answer holds what is no JSON value"
    return None


def _is_sound(answer: Any) -> bool:
    return (
        isinstance(answer, Answer)
        and _is_whole(answer.status)
        and _are_texts(answer.headers)
        and _is_json([dict(answer.headers), answer.body])
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)


def _are_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def _is_json(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        return False
    return True


def words(error: BaseException) -> str:
    """Its type and where it was raised: `KeyError (bridge_webdav.py, line 12)`."""
    return f"{type(error).__name__}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """` (FILE, line N)` of the last line that raised it."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
