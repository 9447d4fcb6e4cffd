"""What can go wrong at the source, and how each is met: told from libpq's errors here, and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cdc.start_decision import Stop

OPTION_REFUSED = "option_refused"
"""The plugin does not know what it is asked for: it is another one, or an older version."""


class SourceLost(Exception):
    """The connection failed or ended: begin again with the lock (rule C2). `refused`: it never came to be."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class StreamFailed(SourceLost):
    """PostgreSQL ended the stream with an error of its own. Where it comes back, no later moment mends it."""


class SlotBusy(Exception):
    """Somebody else reads the slot: stand by."""


class SlotRefused(Exception):
    """PostgreSQL does not read the slot, or no longer, in its own words: look why (`slot_watch.explained`)."""


class CaptureStopped(Exception):
    """Capture cannot go on without a decision (rule C11)."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


class DsnInvalid(ValueError):
    """The DSN cannot be read. The message does not quote it: a password may stand anywhere in it."""


_PASSING = {"08", "40", "53", "57", "58"}
"""Classes of SQLSTATE: connection, rollback, resources, operator intervention, the system around PostgreSQL."""


@contextmanager
def source_errors(what: str) -> Iterator[None]:
    """Turns a failed connection into SourceLost that says during `what`."""
    try:
        yield
    except psycopg.errors.AdminShutdown:
        raise SourceLost(
            f"PostgreSQL ended our session ({what}): it was shut down or restarted, or an administrator ended it"
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise SourceLost(f"PostgreSQL: {what}: {first_line(str(error))}") from None


def stream_error(sqlstate: str | None, message: str) -> Exception:
    """What a refused or ended stream means, by its SQLSTATE (PostgreSQL, appendix A)."""
    text = first_line(message)
    match sqlstate:
        case "55006":  # object_in_use
            return SlotBusy(text)
        case "42704" if text.startswith("publication"):  # undefined_object, up to PostgreSQL 17
            ways = (
                "`bridge cdc setup` makes it",
                "then `bridge cdc start --new-epoch`, knowing that changes may be missing",
            )
            return CaptureStopped(Stop("publication_missing", f"{text}: it was dropped", ways))
        # no slot; object_not_in_prerequisite_state; undefined_file: its WAL is gone
        case "42704" | "55000" | "58P01":
            return SlotRefused(text)
        case "22023":  # invalid_parameter_value
            way = "`bridge cdc check` says whether the slot is made for the plugin that bridge.yaml names"
            return CaptureStopped(Stop(OPTION_REFUSED, text, (way,)))
        case "42501":  # insufficient_privilege
            return CaptureStopped(
                Stop("rights_missing", text, ("`bridge cdc check` shows the SQL that mends it",))
            )
        case _:
            passing = sqlstate is None or sqlstate[:2] in _PASSING
            return (SourceLost if passing else StreamFailed)(f"PostgreSQL ended the stream: {text}")


def first_line(message: str) -> str:
    """libpq's message without severity, context and line breaks."""
    line = message.strip().partition("\n")[0]
    for severity in ("ERROR:", "FATAL:"):
        line = line.removeprefix(severity).strip()
    return line
