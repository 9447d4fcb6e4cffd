"""The application's own messages as events (docs/outbox.md): from the WAL's logical messages, or from rows of a table.

No plugin is known here. What cannot be understood becomes an event too, for nobody's tenant and topic `invalid`: it
was committed, so it is neither dropped nor a reason to stop.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cdc.column_values import json_string
from cdc.event_assembly import Origin, Transaction, begin, event_of, target_of
from cdc.event_text import Target
from cdc.json_values import json_text
from cdc.pgoutput import Row, parse_row
from cdc.relations import Table
from cdc.replication_frames import wal_start
from eventbus.event import EventInvalid, decode_json
from eventbus.group_commit import Outgoing
from eventbus.tokens import NO_TENANT, UNKNOWN_TENANT, tenant_token

OUTBOX = "bridge.outbox"
"""The prefix of its logical messages."""
SCHEMA = "outbox"
"""What stands in an event in place of a table's schema; the topic stands in place of the table."""
INVALID = "invalid"
_KEPT_TARGETS = 10_000


class OutboxMessage(NamedTuple):
    """tenant: None is nobody's; key, payload: JSON."""

    tenant: str | None
    topic: str
    key: str
    payload: str


class InvalidMessage(NamedTuple):
    """For the log: no content."""

    event_id: str
    why: str


class OutboxEvents:
    """Of one stream. Transactional messages take their transaction's next ordinal."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._targets: dict[tuple[str | None, str], Target] = {}
        self.invalid: list[InvalidMessage] = []
        """What could not be understood, for whoever tells it to clear."""

    def message(self, within: Transaction, lsn: int, content: bytes) -> Outgoing:
        return self._event(within, lsn, lambda: read_content(content), lambda: _as_json(content))

    def lone_message(self, lsn: int, sent_at: int, content: bytes) -> Outgoing:
        """One outside transactions, whose record ends at `lsn`: a place of its own, with ordinal 0.

        sent_at: the server's clock when it sent it, microseconds since 2000 UTC.
        """
        place = begin(self._origin, lsn, sent_at, None)
        place.ordinal = -1
        return self.message(place, lsn, content)

    def _event(
        self,
        within: Transaction,
        lsn: int,
        read: Callable[[], OutboxMessage],
        content: Callable[[], str],
    ) -> Outgoing:
        try:
            tenant, topic, key, payload = read()
        except ContentInvalid as error:
            why = str(error)
            self.invalid.append(InvalidMessage(f"{within.id_prefix}{within.ordinal + 1}", why))
            target = target_of((SCHEMA, INVALID), "message", self._origin, (UNKNOWN_TENANT, "null"))
            after = f'{{"error":{json_string(why)},"content":{content()}}}'
            return event_of(within, lsn, target, "null", _BEFORE, after)
        return event_of(within, lsn, self._target(tenant, topic), key, _BEFORE, payload)

    def _target(self, tenant: str | None, topic: str) -> Target:
        found = self._targets.get((tenant, topic))
        if found is None:
            if len(self._targets) >= _KEPT_TARGETS:
                self._targets.clear()
            known = (NO_TENANT, "null") if tenant is None else (tenant_token(tenant), json_string(tenant))
            found = target_of((SCHEMA, topic), "message", self._origin, known)
            self._targets[tenant, topic] = found
        return found

    def row(self, within: Transaction, lsn: int, read: Callable[[], OutboxMessage], row: str) -> Outgoing:
        """An inserted row of the outbox table; `row`: all of it as JSON, for one that `read` finds invalid."""
        return self._event(within, lsn, read, lambda: json_string(row))


_BEFORE = ',"before":null,"after":'


class ContentInvalid(ValueError):
    """Not a message of ours; says why, without values."""


class _Content(msgspec.Struct):
    topic: str
    tenant: str | int | None = None
    key: msgspec.Raw = msgspec.Raw(b"null")
    payload: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Content)


def read_content(content: bytes) -> OutboxMessage:
    """A logical message's content. Raises ContentInvalid."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ContentInvalid("it is not UTF-8") from None
    try:
        # strict also in what it does not take apart
        found = _decoder.decode(text)
        key, payload = bytes(found.key), bytes(found.payload)
        for value in (key, payload):
            # what no reader could read would take the whole event along
            decode_json(value)
    except (msgspec.MsgspecError, EventInvalid, RecursionError) as error:
        raise ContentInvalid(_why(text, str(error))) from None
    tenant = None if found.tenant is None else str(found.tenant)
    return OutboxMessage(tenant, _topic(found.topic), json_text(key.decode()), json_text(payload.decode()))


def _why(text: str, error: str) -> str:
    if json_text(text) != text:
        return r"it nests too deep, or holds half of a surrogate pair, such as \ud800"
    return error


def _topic(topic: str | None) -> str:
    if not topic:
        raise ContentInvalid("it has no topic")
    return topic


def _as_json(content: bytes) -> str:
    try:
        return json_string(content.decode())
    except UnicodeDecodeError:
        return f'"{b64encode(content).decode("ascii")}"'


class OutboxRows:
    """The outbox table as the stream describes it: its inserted rows are messages, by its columns' names."""

    def __init__(self, table: Table, events: OutboxEvents) -> None:
        self._table, self._events = table, events
        self._places = {name: place for place, name in enumerate(table.shape.names)}

    @property
    def name(self) -> str:
        return self._table.full_name

    def insert(self, within: Transaction, lsn: int, new: Row) -> Outgoing:
        encoder, shape = self._table.encoder, self._table.shape
        row = encoder.columns(new, shape.published) if self._text(new, "topic") in (None, "") else ""
        return self._events.row(within, lsn, lambda: self._read(new), row)

    def insert_sent(self, within: Transaction, frame: bytes, at: int) -> Outgoing:
        """`insert` of the only row of a frame, which begins at `at`."""
        return self.insert(within, wal_start(frame), parse_row(frame, at))

    def _read(self, new: Row) -> OutboxMessage:
        topic = _topic(self._text(new, "topic"))
        return OutboxMessage(
            self._text(new, "tenant"), topic, self._json(new, "key"), self._json(new, "payload")
        )

    def _text(self, row: Row, column: str) -> str | None:
        place = self._places.get(column)
        value = None if place is None else row[place]
        return value if isinstance(value, str) else None

    def _json(self, row: Row, column: str) -> str:
        value = self._text(row, column)
        return "null" if value is None else self._table.shape.forms[self._places[column]].to_json(value)
