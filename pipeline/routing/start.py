"""May the router go on from what is stored, and where (rules T1 to T3)? Pure."""

from dataclasses import dataclass

from pipeline.routing.position import RouterMark, RouterPosition, StreamsMade

STANDBY_S = 10.0
"""A position that did not change for so long has no router."""
NOWHERE = RouterMark(0, "")


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """What the streams say. event_id: of EVENTS' message at the position's sequence; None: it is gone.

    has_deliveries: whether anything is stored below `deliveries.`.
    """

    made: StreamsMade
    event_id: str | None
    has_deliveries: bool


@dataclass(frozen=True, slots=True)
class Begin:
    """Go on behind this mark."""

    mark: RouterMark


@dataclass(frozen=True, slots=True)
class Stop:
    """The router cannot go on without a decision."""

    message: str


def decide_start(held: RouterPosition | None, facts: RouterFacts) -> Begin | Stop:
    if held is None:
        return _without_position(facts)
    for stream, then, now in (
        ("EVENTS", held.made.events, facts.made.events),
        ("DELIVERIES", held.made.deliveries, facts.made.deliveries),
    ):
        if then != now:
            return Stop(
                f"stream {stream} was made anew at {now}; the router's position belongs to the one of {then}, whose "
                "sequences mean other events. What was not delivered then is lost with it: delete stream "
                "DELIVERIES (`nats stream rm DELIVERIES`) to begin anew, and bring the past by a backfill"
            )
    if held.event_seq and facts.event_id != held.event_id:
        found = "gone" if facts.event_id is None else f"now event {facts.event_id}"
        return Stop(
            f"EVENTS lost its end: message {held.event_seq}, event {held.event_id}, was routed and is {found}. "
            "Events captured since would count as routed: restore the stream, or delete stream DELIVERIES "
            "(`nats stream rm DELIVERIES`) once its work is done, to begin anew"
        )
    return Begin(held.mark._replace(released=False))


def _without_position(facts: RouterFacts) -> Begin | Stop:
    if facts.has_deliveries:
        return Stop(
            "stream DELIVERIES holds deliveries, but no position of the router: somebody purged its subject. "
            "Going on from the beginning would deliver everything twice: restore the position, or delete "
            "stream DELIVERIES (`nats stream rm DELIVERIES`) once its work is done"
        )
    return Begin(NOWHERE)


def behind_torn(mark: RouterMark, torn: tuple[int, str, str] | None, event_id: str) -> RouterMark:
    """The mark behind what a torn batch left: `torn` is its last delivery, `event_id` that delivery's event."""
    if torn is None:
        return mark
    event_seq, tenant, route = torn
    here = (mark.event_seq, mark.cursor is None, mark.cursor or ("", ""))
    found = (event_seq, False, (tenant, route))
    return RouterMark(event_seq, event_id, (tenant, route)) if found > here else mark
