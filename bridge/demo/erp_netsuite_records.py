"""The NetSuite records that maintenance has a use for, with the lengths of their fields (SuiteTalk REST API Browser). Pure."""

from collections.abc import Mapping
from typing import Any

from bridge.demo.erp_entities import Day, Entity, Field, Flag, Number, Part, Text

_REFERENCE = Part(Entity({"id": Text(), "externalId": Text()}))
_LINE: Mapping[str, Field] = {
    "item": _REFERENCE,
    "location": _REFERENCE,
    "department": _REFERENCE,
    "class": _REFERENCE,
    "memo": Text(4000),
}

RECORDS: Mapping[str, Entity] = {
    "vendor": Entity(
        {
            "entityId": Text(83),
            "companyName": Text(83),
            "email": Text(254),
            "phone": Text(32),
            "subsidiary": _REFERENCE,
            "currency": _REFERENCE,
            "comments": Text(4000),
            "isInactive": Flag(),
            "addressBook": Part(
                Entity({
                    "defaultBilling": Flag(),
                    "addressBookAddress": Part(Entity({"addr1": Text(150), "city": Text(50), "country": _REFERENCE})),
                }),
                many=True,
                wrapper="items",
            ),
        },
        required=("subsidiary",),
    ),
    "inventoryItem": Entity(
        {
            "itemId": Text(60),
            "displayName": Text(60),
            "purchaseDescription": Text(999),
            "subsidiary": Part(Entity({"id": Text()}), many=True, wrapper="items", filled=True),
            "includeChildren": Flag(),
            "assetAccount": _REFERENCE,
            "cogsAccount": _REFERENCE,
            "taxSchedule": _REFERENCE,
            "unitsType": _REFERENCE,
            "isInactive": Flag(),
        },
        required=("itemId", "assetAccount", "cogsAccount"),
    ),
    "purchaseRequisition": Entity(
        {
            "entity": _REFERENCE,
            "tranDate": Day(),
            "dueDate": Day(),
            "memo": Text(999),
            "department": _REFERENCE,
            "class": _REFERENCE,
            "location": _REFERENCE,
            "subsidiary": _REFERENCE,
            "item": Part(
                Entity(
                    {
                        **_LINE,
                        "quantity": Number(5),
                        "description": Text(4000),
                        "rate": Number(8),
                        "estimatedRate": Number(8),
                        "estimatedAmount": Number(2),
                    },
                    required=("item",),
                ),
                many=True,
                wrapper="items",
                filled=True,
            ),
        },
        required=("entity",),
    ),
    "inventoryAdjustment": Entity(
        {
            "account": _REFERENCE,
            "subsidiary": _REFERENCE,
            "adjLocation": _REFERENCE,
            "tranDate": Day(),
            "memo": Text(999),
            "department": _REFERENCE,
            "class": _REFERENCE,
            "inventory": Part(
                Entity(
                    {**_LINE, "adjustQtyBy": Number(8), "unitCost": Number(8)},
                    required=("item", "location", "adjustQtyBy"),
                ),
                many=True,
                wrapper="items",
                filled=True,
            ),
        },
        required=("account",),
    ),
}  # fmt: skip


def lists_of(record: str) -> frozenset[str]:
    """The names of a record's sublists."""
    fields = RECORDS[record].fields
    return frozenset(name for name, field in fields.items() if isinstance(field, Part) and field.wrapper)


def merged(
    record: str, before: Mapping[str, Any], body: Mapping[str, Any], replaced: frozenset[str]
) -> dict[str, Any]:
    """What an update leaves: lines of a sublist that is not `replaced` are added to those there are."""
    after = {**before, **body}
    for name in lists_of(record) & set(before) & set(body) - replaced:
        after[name] = {"items": [*before[name]["items"], *body[name]["items"]]}
    return after
