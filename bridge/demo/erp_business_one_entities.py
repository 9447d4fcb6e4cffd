"""The Service Layer's entities that maintenance has a use for, with the lengths of their fields (SAP Business One SDK). Pure.

EVENT_FIELD is no field of SAP's: it is the user-defined one that the shipped mappings write the event's id to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.demo.erp_entities import Day, Entity, Field, Number, Part, Text

EVENT_FIELD = "U_BridgeEvent"
_YES_NO = Text(4, ("tYES", "tNO"))
_OWN: Mapping[str, Field] = {EVENT_FIELD: Text(254)}


@dataclass(frozen=True, slots=True)
class B1Entity:
    """kind: as its errors call it. key: the field that the caller numbers it by; "": the server does, by DocEntry.
    defaults: of what is not written.
    """

    name: str
    kind: str
    fields: Entity
    key: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


_LINES = Part(
    Entity(
        {
            "ItemCode": Text(50),
            "ItemDescription": Text(200),
            "Quantity": Number(6),
            "RequiredDate": Day(),
            "WarehouseCode": Text(8),
            "AccountCode": Text(15),
            "CostingCode": Text(8),
            "ProjectCode": Text(20),
            "UnitPrice": Number(6),
            "MeasureUnit": Text(100),
            "FreeText": Text(100),
        },
        required=("ItemCode", "Quantity"),
    ),
    many=True,
    filled=True,
)

_DOCUMENT: Mapping[str, Field] = {
    "DocDate": Day(),
    "DocDueDate": Day(),
    "TaxDate": Day(),
    "Comments": Text(254),
    "JournalMemo": Text(50),
    "Reference2": Text(11),
    "BPL_IDAssignedToInvoice": Number(0),
    "DocumentLines": _LINES,
    **_OWN,
}

ENTITIES = {
    entity.name: entity
    for entity in (
        B1Entity(
            "PurchaseRequests",
            "Document",
            Entity(
                {
                    **_DOCUMENT,
                    "RequriedDate": Day(),
                    "ReqType": Number(0),
                    "Requester": Text(25),
                    "RequesterEmail": Text(100),
                },
                required=("RequriedDate", "DocumentLines"),
            ),
        ),
        B1Entity("InventoryGenExits", "Document", Entity(_DOCUMENT, required=("DocumentLines",))),
        B1Entity(
            "BusinessPartners",
            "BusinessPartner",
            Entity(
                {
                    "CardCode": Text(15),
                    "CardName": Text(100),
                    "CardType": Text(10, ("cSupplier", "cCustomer", "cLid")),
                    "GroupCode": Number(0),
                    "FederalTaxID": Text(32),
                    "Phone1": Text(20),
                    "EmailAddress": Text(100),
                    "Currency": Text(3),
                    "Valid": _YES_NO,
                    "BPAddresses": Part(
                        Entity(
                            {
                                "AddressName": Text(50),
                                "AddressType": Text(11, ("bo_BillTo", "bo_ShipTo")),
                                "Street": Text(100),
                                "City": Text(100),
                                "Country": Text(3),
                            },
                            required=("AddressName",),
                        ),
                        many=True,
                    ),
                    **_OWN,
                },
                required=("CardCode", "CardName", "CardType"),
            ),
            "CardCode",
        ),
        B1Entity(
            "Items",
            "Item",
            Entity(
                {
                    "ItemCode": Text(50),
                    "ItemName": Text(200),
                    "ItemsGroupCode": Number(0),
                    "InventoryItem": _YES_NO,
                    "PurchaseItem": _YES_NO,
                    "SalesItem": _YES_NO,
                    "Valid": _YES_NO,
                    "Frozen": _YES_NO,
                    "InventoryUOM": Text(100),
                    "PurchaseUnit": Text(100),
                    **_OWN,
                },
                required=("ItemCode",),
            ),
            "ItemCode",
            {"Valid": "tYES", "Frozen": "tNO"},
        ),
    )
}
