"""A SOAP ERP by somebody else's stack: spyne makes the WSDL, validates what comes against it, and answers.

`python spyne_erp.py` prints its port. Operations: store an order, tell what is stored.
"""

# mypy: ignore-errors
# spyne has no types
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import (
    Application,
    Array,
    Boolean,
    ComplexModel,
    Date,
    DateTime,
    Decimal,
    Enum,
    Fault,
    Integer,
    ServiceBase,
    Unicode,
    XmlAttribute,
    XmlData,
    rpc,
)
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

NAMESPACE = "urn:spyne:erp"
Priority = Enum("low", "high", type_name="Priority")


class Quantity(ComplexModel):
    __namespace__ = NAMESPACE
    value = XmlData(Decimal)
    unit = XmlAttribute(Unicode, use="required")


class Line(ComplexModel):
    __namespace__ = NAMESPACE
    code = Unicode(min_occurs=1, nillable=False, max_len=20)
    quantity = Quantity.customize(min_occurs=1, nillable=False)


class Order(ComplexModel):
    __namespace__ = NAMESPACE
    event = Unicode(min_occurs=1, nillable=False)
    id = Integer(min_occurs=1, nillable=False)
    text = Unicode
    cost = Decimal
    day = Date
    at = DateTime
    urgent = Boolean
    priority = Priority
    note = Unicode(nillable=True)
    lines = Array(Line)


class Session(ComplexModel):
    __namespace__ = NAMESPACE
    company = Integer(min_occurs=1, nillable=False)


class Stored(ComplexModel):
    __namespace__ = NAMESPACE
    number = Unicode
    total = Decimal
    duplicate = Boolean


orders: list[Order] = []
locked: set[str] = set()


class Erp(ServiceBase):
    __in_header__ = Session

    @rpc(Order, _returns=Stored)
    def store(ctx, order):  # noqa: ANN001, ANN201, N805 — spyne's way
        if ctx.in_header is None or ctx.in_header.company != 7:
            raise Fault("Client.Session", "no session of company 7")
        if order.text == "refuse":
            raise Fault("Client.ClosedPeriod", "the period is closed")
        if order.text == "locked" and order.event not in locked:
            locked.add(order.event)
            raise Fault("Server.Locked", "somebody has it open")
        duplicate = any(each.event == order.event for each in orders)
        if not duplicate:
            orders.append(order)
        total = sum((line.quantity.value for line in order.lines or ()), start=order.cost or 0)
        return Stored(number=f"O-{order.id}", total=total, duplicate=duplicate)

    @rpc(_returns=Array(Order))
    def stored(ctx):  # noqa: ANN201, N805
        return orders


class Silent(WSGIRequestHandler):
    def log_message(self, *_words: object) -> None:
        pass


def main() -> None:
    application = Application([Erp], NAMESPACE, in_protocol=Soap11(validator="lxml"), out_protocol=Soap11())
    with make_server("127.0.0.1", 0, WsgiApplication(application), handler_class=Silent) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
