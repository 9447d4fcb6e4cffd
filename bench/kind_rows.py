"""What each connector kind is measured with: a mapping, a connection, and what its ERP answers at once.

A kind adds a row to KINDS: the same order as far as its form allows, and an answer that says that it was booked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.order_fields import order_fields
from bench.soap_order import BOOKED, SOAP, WSDL

REST = """
source: {table: public.work_orders, operations: [insert, update]}
connector: rest
repeat: idempotency_key
params: {path: {default: /orders}}
request:
  method: POST
  path: "/api/orders/{{ key.id }}"
  body:
""" + order_fields(4)
GRAPHQL = """
source: {table: public.work_orders, operations: [insert, update]}
connector: graphql
repeat: idempotency_key
request:
  query: |
    mutation Order($order: OrderInput!) {
      createOrder(order: $order) { id number lines { id } }
    }
  variables:
    order:
""" + order_fields(6)
JSONRPC = """
source: {table: public.work_orders, operations: [insert, update]}
connector: jsonrpc
repeat: idempotency_key
request:
  method: orders.create
  params:
""" + order_fields(4)
ORDERED = b'{"data":{"createOrder":{"id":"4711","number":"PO-4711","lines":[{"id":"1"}]}}}'


def called(body: bytes) -> bytes:
    """The result of a call, with its own id: the last member of what is sent."""
    return b'{"jsonrpc":"2.0","result":{"number":"PO-4711"},' + body[body.rindex(b'"id":') :]


@dataclass(frozen=True, slots=True)
class BenchKind:
    """asked: what a worker is to reach, deliveries a second. answer: the body, or what makes it of a request's body.

    connection: its own members in tenant.yaml. files: beside tenant.yaml, by their paths.
    """

    name: str
    mapping: str
    asked: int
    answer: bytes | Callable[[bytes], bytes] = b'{"ok":true}'
    content_type: str = "application/json"
    connection: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


_ROWS = (
    BenchKind("rest", REST, 3_000),
    BenchKind("graphql", GRAPHQL, 2_500, ORDERED),
    BenchKind("jsonrpc", JSONRPC, 2_500, called),
    BenchKind(
        "soap",
        SOAP,
        800,
        BOOKED,
        "text/xml; charset=utf-8",
        connection={"wsdl": "wsdl/orders.wsdl"},
        files={"wsdl/orders.wsdl": WSDL},
    ),
)
KINDS: Mapping[str, BenchKind] = {kind.name: kind for kind in _ROWS}
