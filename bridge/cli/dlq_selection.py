"""Which dead letters a command is about: options that all commands of `bridge dlq` share, and what they choose."""

import functools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from bridge.cli.errors import Usage
from bridge.cli.tenant_name import tenant_name
from eventbus.jetstream import JetStream
from eventbus.subjects import Subjects
from pipeline.delivery.disposition import REASONS
from pipeline.dlq.letters import Glance, Letters
from pipeline.quantities import MAX_NAME, NAME
from pipeline.yaml_nodes import nearest

_AGO = re.compile(r"(\d+)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line says; all of it must hold. since, until: when it became a dead letter, seconds since the epoch.

    ids: `TENANT/ROUTE/SEQUENCE`, the sequence alone, an event's id or a delivery's.
    """

    ids: tuple[str, ...] = ()
    tenant: str | None = None
    route: str | None = None
    since: float | None = None
    until: float | None = None
    reasons: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Nothing was named."""
        return self == Chosen()


_OPTIONS = (
    click.argument("ids", nargs=-1, metavar="[ID]…"),
    click.option("--tenant", metavar="TENANT", help="Of this tenant: its folder's name, or key:… ."),
    click.option("--route", metavar="[TENANT/]ROUTE", help="Of this route."),
    click.option("--reason", "reasons", multiple=True, metavar="REASON", help=f"{', '.join(REASONS)}."),
    click.option(
        "--class", "classes", multiple=True, metavar="CLASS", help="Of this error class, as `list` shows it."
    ),
    click.option(
        "--since", metavar="WHEN", help="Dead since then: 2h (ago), 2026-11-24, 2026-11-24T03:28 (UTC)."
    ),
    click.option("--until", metavar="WHEN", help="Dead until then."),
)


def selecting(command: F) -> F:
    """Gives a click command `chosen: Chosen`. An ID is what `bridge dlq list` shows, or an event's id."""

    @functools.wraps(command)
    def chosen(  # noqa: PLR0913 - an argument for each option
        *,
        ids: tuple[str, ...],
        tenant: str | None,
        route: str | None,
        reasons: tuple[str, ...],
        classes: tuple[str, ...],
        since: str | None,
        until: str | None,
        **others: Any,
    ) -> object:
        for reason in reasons:
            if reason not in REASONS:
                raise Usage(f"--reason {reason}: there is none of that name{nearest(reason, REASONS)}")
        begin, end = (None if written is None else _moment(written) for written in (since, until))
        tenant, route = _names(tenant, route)
        return command(chosen=Chosen(ids, tenant, route, begin, end, reasons, classes), **others)

    for option in reversed(_OPTIONS):
        chosen = option(chosen)
    return chosen  # type: ignore[return-value] # click's options keep the function


def _names(tenant: str | None, route: str | None) -> tuple[str | None, str | None]:
    before, slash, name = (route or "").rpartition("/")
    if slash:
        if tenant is not None and tenant != before:
            raise Usage(f"--route {route} is not a route of --tenant {tenant}")
        tenant, route = before, name
    if route is not None and (len(route) > MAX_NAME or not NAME.fullmatch(route)):
        raise Usage(f"{route!r} cannot be a route: write ROUTE or TENANT/ROUTE")
    return tenant, route


def _moment(written: str) -> float:
    """Seconds since the epoch."""
    if found := _AGO.fullmatch(written.removesuffix(" ago").strip()):
        return time.time() - int(found[1]) * _SECONDS[found[2]]
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise Usage(f"{written!r} is no moment: write 2h, 3d, 2026-11-24 or 2026-11-24T03:28 (UTC)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class Selection:
    """The chosen dead letters that are open, oldest first. unknown: the ids that none of them bears."""

    glances: list[Glance]
    unknown: list[str] = field(default_factory=list)

    @property
    def in_order(self) -> list[Glance]:
        """As they must be replayed: by the first delivery's place, so that each key's stay in order."""
        return sorted(self.glances, key=lambda glance: (glance.original, glance.id.seq))


async def select(chosen: Chosen, jetstream: JetStream, subjects: Subjects) -> Selection:
    """Raises Usage, and as JetStream does."""
    tenant = None if chosen.tenant is None else await tenant_name(chosen.tenant, jetstream, subjects)
    subject = subjects.dead_letters_of(tenant or "*", chosen.route or "*")
    glances = await Letters(jetstream, subjects).glances(subject, chosen.since)
    found = Selection([glance for glance in glances if _matches(chosen, glance)])
    if chosen.ids:
        wanted = set(chosen.ids)
        found.glances = [glance for glance in found.glances if wanted & set(_ids(glance))]
        known = {id_ for glance in found.glances for id_ in _ids(glance)}
        found.unknown = [id_ for id_ in chosen.ids if id_ not in known]
    return found


def _matches(chosen: Chosen, glance: Glance) -> bool:
    if not (chosen.since or 0.0) <= glance.time <= (chosen.until or float("inf")):
        return False
    if chosen.reasons and glance.reason not in chosen.reasons:
        return False
    return not chosen.classes or glance.class_ in chosen.classes


def _ids(glance: Glance) -> Sequence[str]:
    """All that it may be called."""
    one = glance.id
    return (one.text, str(one.seq), glance.event_id, f"{glance.event_id}/{one.tenant}/{one.route}")
