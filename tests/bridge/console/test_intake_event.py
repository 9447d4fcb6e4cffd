"""A webhook's event looks like any other."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bridge.console.intake_event import Webhook, event_id, key_at, outgoing
from eventbus.subjects import Subjects
from pipeline.mapping import Source

RECEIVED = datetime(2026, 11, 24, 3, 28, 19, 832_462, UTC)
PAYLOAD = {
    "type": "order.created",
    "timestamp": "2026-11-24T03:28:19Z",
    "data": {"id": 7, "cost": Decimal("12.10")},
}


def webhook(payload: dict[str, Any], **more: Any) -> Webhook:
    return Webhook("partner", "4711", event_id("partner", "msg_1", None), payload, RECEIVED, **more)


def test_every_member_is_there() -> None:
    message = outgoing(webhook(PAYLOAD, key=key_at(("data", "id"), PAYLOAD)), Subjects("ns"))
    assert message.subject == b"ns.events.partner.4711.intake.order=2Ecreated.message"
    assert message.headers == b"Bridge-Event-Id: partner:wmsg_1\r\n"
    assert message.payload.decode() == (
        '{"v":1,"id":"partner:wmsg_1","op":"message","tenant":"4711","source":{"name":"partner","db":null,'
        '"schema":"intake","table":"order.created","lsn":null,"commit_lsn":null,"ordinal":0,"xid":null,'
        '"commit_ts":"2026-11-24T03:28:19.832462Z"},"key":{"id":7},"before":null,"after":'
        '{"type":"order.created","timestamp":"2026-11-24T03:28:19Z","data":{"id":7,"cost":12.10}}}'
    )


def test_a_mapping_of_its_type_takes_it() -> None:
    event = json.loads(outgoing(webhook(PAYLOAD), Subjects()).payload)
    assert Source("intake.order.created", frozenset({"message"})).takes(event)


@pytest.mark.parametrize("payload", [{}, {"type": ""}, {"type": None}, {"type": 7}, {"type": {"a": 1}}])
def test_without_a_type_it_is_an_event(payload: dict[str, Any]) -> None:
    message = outgoing(webhook(payload), Subjects())
    assert message.subject == b"events.partner.4711.intake.event.message"
    assert json.loads(message.payload)["source"]["table"] == "event"


def test_what_would_break_a_subject_is_escaped() -> None:
    message = outgoing(webhook({"type": "a b.*>\r\n"}), Subjects())
    assert message.subject == b"events.partner.4711.intake.a=20b=2E=2A=3E=0D=0A.message"


@pytest.mark.parametrize(
    ("path", "payload", "expected"),
    [
        ((), {"id": 1}, None),
        (("id",), {"id": 1}, {"id": 1}),
        (("data", "id"), {"data": {"id": "x"}}, {"id": "x"}),
        (("data", "id"), {"data": {}}, None),
        (("data", "id"), {"data": [1]}, None),
        (("data", "id"), {"data": {"id": None}}, None),
        (("data", "id"), {"data": {"id": {"a": 1}}}, None),
        (("data", "id"), {"data": {"id": False}}, {"id": False}),
    ],
)
def test_the_key_is_one_value_or_none(
    path: tuple[str, ...], payload: dict[str, Any], expected: object
) -> None:
    assert key_at(path, payload) == expected


def test_ids_never_meet() -> None:
    ids = {
        event_id(source, webhook_id, tenant)
        for source in ("p", "p-w")
        for webhook_id in ("a", "acme.a", "acme=2Ea", "a\r\nX: y", "é", "é" * 100, "é" * 99)
        for tenant in (None, "acme", "a")
    }
    assert len(ids) == 42
    assert all(one.isascii() and one.isprintable() and len(one) < 250 for one in ids)
