"""The entities of Business Central's API v2.0 that maintenance has a use for, with the lengths of the base app's fields. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.demo.erp_entities import Day, Entity, Flag, Number, Part, Text


@dataclass(frozen=True, slots=True)
class BcEntity:
    """title: as its errors call it. lines: the navigation that `$expand` shows. defaults: of what is not written."""

    name: str
    title: str
    fields: Entity
    lines: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


_LINE = Entity(
    {
        "lineType": Text(0, ("Comment", "Account", "Item", "Resource", "Fixed Asset", "Charge")),
        "lineObjectNumber": Text(20),
        "description": Text(100),
        "unitOfMeasureCode": Text(10),
        "quantity": Number(5),
        "directUnitCost": Number(5),
        "expectedReceiptDate": Day(),
        "locationId": Text(36),
    },
    required=("lineType",),
    ignored=frozenset({"netAmount", "sequence"}),
)

ENTITIES = {
    entity.name: entity
    for entity in (
        BcEntity(
            "vendors",
            "Vendor",
            Entity(
                {
                    "number": Text(20),
                    "displayName": Text(100),
                    "addressLine1": Text(100),
                    "addressLine2": Text(50),
                    "city": Text(30),
                    "state": Text(30),
                    "country": Text(10),
                    "postalCode": Text(20),
                    "phoneNumber": Text(30),
                    "email": Text(80),
                    "taxRegistrationNumber": Text(20),
                    "currencyCode": Text(10),
                    "blocked": Text(0, (" ", "Payment", "All")),
                },
                ignored=frozenset({"balance", "lastModifiedDateTime"}),
            ),
        ),
        BcEntity(
            "items",
            "Item",
            Entity(
                {
                    "number": Text(20),
                    "displayName": Text(100),
                    "displayName2": Text(50),
                    "type": Text(0, ("Inventory", "Service", "Non-Inventory")),
                    "itemCategoryCode": Text(20),
                    "blocked": Flag(),
                    "gtin": Text(14),
                    "unitCost": Number(5),
                    "baseUnitOfMeasureCode": Text(10),
                    "generalProductPostingGroupCode": Text(20),
                    "inventoryPostingGroupCode": Text(20),
                },
                ignored=frozenset({"inventory", "lastModifiedDateTime"}),
            ),
            defaults={"type": "Inventory", "blocked": False},
        ),
        BcEntity(
            "purchaseOrders",
            "Purchase Header",
            Entity(
                {
                    "number": Text(20),
                    "orderDate": Day(),
                    "postingDate": Day(),
                    "vendorNumber": Text(20),
                    "currencyCode": Text(10),
                    "shortcutDimension1Code": Text(20),
                    "shortcutDimension2Code": Text(20),
                    "requestedReceiptDate": Day(),
                    "purchaser": Text(20),
                    "shipToContact": Text(100),
                    "purchaseOrderLines": Part(_LINE, many=True),
                },
                required=("vendorNumber",),
                ignored=frozenset({"totalAmountIncludingTax", "status", "fullyReceived"}),
            ),
            lines="purchaseOrderLines",
            defaults={"status": "Draft"},
        ),
    )
}
