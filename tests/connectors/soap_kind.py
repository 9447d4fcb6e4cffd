"""The row of the kind `soap` in the conformance suite."""

from dataclasses import replace

from bridge.conformance import PASSWORD, Kind, Said
from bridge.demo.erp_server import Reply
from bridge.demo.erp_soap import PATH, SoapErp, throttled, wsdl
from bridge.demo.erp_soap_messages import fault_11

SOAP = Kind(
    "soap",
    lambda: SoapErp(authorization=f"Bearer {PASSWORD}", knows_by_key=True),
    lambda text: {
        "operation": "UpsertItem",
        "arguments": {
            "item": {"externalId": "e-1", "note": text, "code": "R-1", "description": "ring", "active": True}
        },
    },
    rejected=Said(fault_11("Client", "E7", "no such\nplant"), "E7", "no such plant"),
    throttled=Said(
        replace(throttled(), headers={"Content-Type": "text/xml", "Retry-After": "7"}),
        "WS_CONCUR_SESSION_DISALLWD",
        after=7.0,
    ),
    unavailable=Said(Reply(503, None, {"Retry-After": "9"}), after=9.0),
    read_back=lambda effect: effect.body["note"],
    options={"wsdl": "wsdl/erp.wsdl"},
    files={"wsdl/erp.wsdl": wsdl()},
    base=PATH,
    echoes=lambda text: [fault_11("Client", text, text), fault_11("Server", "E1", text)],
    large="Uncertain",  # without an end nobody knows whether it is SOAP
)
