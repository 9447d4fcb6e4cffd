"""Names of streams, buckets and subjects, all made in this one place.

Where a NATS server is shared, a namespace stands before them: `ns-` before streams and buckets, `ns.` before
subjects. All other modules see the names without it only through `parse_*`.
"""

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

from eventbus.tokens import escape


@dataclass(frozen=True, slots=True)
class EventSubject:
    """Tokens of `events.<source>.<tenant>.<schema>.<table>.<op>`, still escaped."""

    source: str
    tenant: str
    schema: str
    table: str
    op: str


@dataclass(frozen=True, slots=True)
class DeliverySubject:
    """`deliveries.<lane>.<tenant>.<route>`: tenant and route are names."""

    lane: int
    tenant: str
    route: str


def lane_of(tenant: str, lanes: int) -> int:
    """The lane a tenant lives in, by its name."""
    return crc32(tenant.encode()) % lanes


@dataclass(frozen=True)
class Subjects:
    """Every name, with the namespace put in."""

    namespace: str = ""

    @cached_property
    def prefix(self) -> str:
        """What stands before every subject: `""` or `"ns."`."""
        return f"{self.namespace}." if self.namespace else ""

    def stream(self, name: str) -> str:
        return f"{self.namespace}-{name}" if self.namespace else name

    bucket = stream

    def event(self, source: str, tenant_token: str, schema: str, table: str, op: str) -> str:
        """Tenant token as `tokens.tenant_token` makes it; schema and table as the database names them."""
        return f"{self.prefix}events.{source}.{tenant_token}.{escape(schema)}.{escape(table)}.{op}"

    def events_of(self, source: str) -> str:
        return f"{self.prefix}events.{source}.>"

    @property
    def all_events(self) -> str:
        return f"{self.prefix}events.>"

    def position(self, source: str) -> str:
        return f"{self.prefix}position.{source}"

    @property
    def all_positions(self) -> str:
        """Of all sources."""
        return f"{self.prefix}position.*"

    def roll_call(self, source: str) -> str:
        """Where running captures of a source are asked who they are; in no stream."""
        return f"{self.prefix}bridge.capture.{source}"

    def routes(self, tenant: str) -> str:
        return f"{self.prefix}routes.{tenant}"

    @property
    def all_routes(self) -> str:
        return f"{self.prefix}routes.*"

    def webhook(self, source: str, digest: str) -> str:
        """Where a webhook's markers are; `digest` tells its event's id."""
        return f"{self.prefix}intake.{source}.{digest}"

    @property
    def all_webhooks(self) -> str:
        return f"{self.prefix}intake.*.*"

    def delivery(self, lane: int, tenant: str, route: str) -> str:
        return f"{self.prefix}deliveries.{lane}.{tenant}.{route}"

    def lane(self, lane: int) -> str:
        return f"{self.prefix}deliveries.{lane}.>"

    def deliveries_of(self, lane: int, tenant: str) -> str:
        return f"{self.prefix}deliveries.{lane}.{tenant}.>"

    @property
    def all_deliveries(self) -> str:
        return f"{self.prefix}deliveries.>"

    def router_position(self, shard: int) -> str:
        return f"{self.prefix}position.router.{shard}"

    def replay(self, tenant: str, route: str, delivery_seq: int) -> str:
        """Where the marker is that decides about a dead letter."""
        return f"{self.prefix}position.replay.{tenant}.{route}.{delivery_seq}"

    @property
    def all_replays(self) -> str:
        return f"{self.prefix}position.replay.>"

    def dead_letter(self, tenant: str, route: str, delivery_seq: int) -> str:
        return f"{self.prefix}dlq.{tenant}.{route}.{delivery_seq}"

    @property
    def all_dead_letters(self) -> str:
        return f"{self.prefix}dlq.>"

    def dead_letters_of(self, tenant: str, route: str) -> str:
        """`*` stands for any."""
        return f"{self.prefix}dlq.{tenant}.{route}.*"

    def attempt(self, tenant: str, route: str) -> str:
        return f"{self.prefix}attempts.{tenant}.{route}"

    def own_consumer(self, tenant: str, route: str, incarnation: int) -> str:
        """The consumer of DELIVERIES that a route in trouble has to itself."""
        return f"route--{tenant}--{route}--{incarnation}"

    def parse_own_consumer(self, name: str) -> tuple[str, str, int] | None:
        """Tenant, route and incarnation; None: it is another consumer. No name has two hyphens in a row."""
        kind, *parts = name.split("--")
        if kind != "route" or len(parts) != 3 or not parts[2].isdecimal():
            return None
        return parts[0], parts[1], int(parts[2])

    def stream_subjects(self, name: str) -> list[str]:
        """What the stream `name` (without namespace) listens to."""
        own = {
            "EVENTS": ["events.>", "position.*", "routes.*", "intake.*.*"],
            "DELIVERIES": ["deliveries.>", "position.router.*", "position.replay.>"],
            "DLQ": ["dlq.>"],
            "ATTEMPTS": ["attempts.>"],
        }
        if name == "ADVISORIES":
            stream = self.stream("DELIVERIES")
            return [
                f"$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.>"
                for kind in ("MAX_DELIVERIES", "MSG_TERMINATED")
            ]
        return [self.prefix + subject for subject in own[name]]

    def parse_event(self, subject: str) -> EventSubject:
        """Raises ValueError for anything but an event's subject."""
        kind, *tokens = subject.removeprefix(self.prefix).split(".")
        if kind != "events" or len(tokens) != 5:
            raise ValueError(f"not an event's subject: {subject}")
        return EventSubject(*tokens)

    def parse_delivery(self, subject: str) -> DeliverySubject:
        """Raises ValueError for anything but a delivery's subject."""
        kind, *tokens = subject.removeprefix(self.prefix).split(".")
        if kind != "deliveries" or len(tokens) != 3 or not tokens[0].isdecimal():
            raise ValueError(f"not a delivery's subject: {subject}")
        return DeliverySubject(int(tokens[0]), tokens[1], tokens[2])

    def parse_dead_letter(self, subject: str) -> tuple[str, str, int]:
        """Tenant, route and the delivery's sequence. Raises ValueError for anything but a dead letter's subject."""
        return self._parse_letter(subject, "dlq")

    def parse_replay(self, subject: str) -> tuple[str, str, int]:
        """As `parse_dead_letter`, of a replay's marker."""
        return self._parse_letter(subject, "position.replay")

    def _parse_letter(self, subject: str, kind: str) -> tuple[str, str, int]:
        tokens = subject.removeprefix(f"{self.prefix}{kind}.").split(".")
        if len(tokens) != 3 or not tokens[2].isdecimal():
            raise ValueError(f"not a subject of {kind}: {subject}")
        return tokens[0], tokens[1], int(tokens[2])
