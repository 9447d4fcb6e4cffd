"""The OData 2 services of the simulated S/4HANA, as their $metadata declares them: names, lengths, decimals. Pure.

API_PURCHASEREQ_PROCESS_SRV, API_MATERIAL_DOCUMENT_SRV, API_MAINTENANCEORDER (version 2), API_BUSINESS_PARTNER and
API_PRODUCT_SRV of the SAP Business Accelerator Hub, cut to what maintenance has a use for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.demo.erp_entities import Day, Entity, Flag, Number, Part, Text

ROOT = "/sap/opu/odata/sap"


@dataclass(frozen=True, slots=True)
class EntitySet:
    """key: the names of its members. first: the number of the first document, 0: the caller gives the key. kept: children
    that are entities of a set of their own. defaults: of what is not written.
    """

    service: str
    name: str
    key: tuple[str, ...]
    entity: Entity
    first: int = 0
    creates: bool = True
    updates: bool = True
    kept: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.service}/{self.name}"


_AMOUNT = Number(3, written=True)
_DATE = Day(odata_2=True)

_REQUISITION = Entity(
    {
        "PurchaseRequisitionType": Text(4),
        "PurReqnDescription": Text(40),
        "to_PurchaseReqnItem": Part(
            Entity(
                {
                    "PurchaseRequisitionItem": Text(5),
                    "PurchaseRequisitionItemText": Text(40),
                    "AccountAssignmentCategory": Text(1),
                    "Material": Text(40),
                    "MaterialGroup": Text(9),
                    "RequestedQuantity": _AMOUNT,
                    "BaseUnit": Text(3),
                    "PurchaseRequisitionPrice": _AMOUNT,
                    "PurReqnItemCurrency": Text(5),
                    "PurchasingGroup": Text(3),
                    "Plant": Text(4),
                    "StorageLocation": Text(4),
                    "DeliveryDate": _DATE,
                    "RequisitionerName": Text(12),
                    "RequirementTracking": Text(10),
                    "to_PurchaseReqnAcctAssgmt": Part(
                        Entity({
                            "CostCenter": Text(10),
                            "GLAccount": Text(10),
                            "OrderID": Text(12),
                            "WBSElement": Text(24),
                            "Quantity": _AMOUNT,
                        }),
                        many=True,
                    ),
                    "to_PurchaseReqnItemText": Part(
                        Entity(
                            {"DocumentText": Text(4), "Language": Text(2), "NoteDescription": Text()},
                            required=("DocumentText", "Language"),
                        ),
                        many=True,
                    ),
                },
                required=("RequestedQuantity", "Plant"),
                ignored=frozenset({"CreationDate", "CreatedByUser", "SourceOfSupplyIsAssigned"}),
            ),
            many=True,
            filled=True,
        ),
    },
    required=("PurchaseRequisitionType",),
)  # fmt: skip

_MATERIAL_DOCUMENT = Entity(
    {
        "DocumentDate": _DATE,
        "PostingDate": _DATE,
        "MaterialDocumentHeaderText": Text(25),
        "ReferenceDocument": Text(16),
        "GoodsMovementCode": Text(2, ("01", "02", "03", "04", "05", "06")),
        "to_MaterialDocumentItem": Part(
            Entity(
                {
                    "Material": Text(40),
                    "Plant": Text(4),
                    "StorageLocation": Text(4),
                    "Batch": Text(10),
                    "GoodsMovementType": Text(3),
                    "CostCenter": Text(10),
                    "GLAccount": Text(10),
                    "ManufacturingOrder": Text(12),
                    "WBSElement": Text(24),
                    "EntryUnit": Text(3),
                    "QuantityInEntryUnit": _AMOUNT,
                    "MaterialDocumentItemText": Text(50),
                    "GoodsRecipientName": Text(12),
                },
                required=("Material", "Plant", "GoodsMovementType", "EntryUnit", "QuantityInEntryUnit"),
            ),
            many=True,
            filled=True,
        ),
    },
    required=("GoodsMovementCode", "PostingDate"),
)

_MAINTENANCE_ORDER = Entity(
    {
        "MaintenanceOrderType": Text(4),
        "MaintenanceOrderDesc": Text(40),
        "MaintOrdBasicStartDateTime": _DATE,
        "MaintOrdBasicEndDateTime": _DATE,
        "MainWorkCenter": Text(8),
        "MainWorkCenterPlant": Text(4),
        "MaintenancePlanningPlant": Text(4),
        "MaintenancePlant": Text(4),
        "MaintPriority": Text(1),
        "MaintenanceActivityType": Text(3),
        "MaintenancePlannerGroup": Text(3),
        "Equipment": Text(18),
        "FunctionalLocation": Text(30),
        "CostCenter": Text(10),
        "to_MaintenanceOrderLongText": Part(
            Entity(
                {"TextObjectType": Text(4), "Language": Text(2), "MaintenanceOrderLongText": Text()},
                required=("TextObjectType", "Language"),
            ),
            many=True,
        ),
    },
    required=("MaintenanceOrderType", "MaintenancePlanningPlant"),
    ignored=frozenset({"MaintOrdBasicStartDate", "SystemStatusText", "EquipmentName"}),
)

_ADDRESS = Entity({
    "Country": Text(3),
    "Region": Text(3),
    "CityName": Text(40),
    "PostalCode": Text(10),
    "StreetName": Text(60),
    "HouseNumber": Text(10),
    "Language": Text(2),
    "to_EmailAddress": Part(Entity({"EmailAddress": Text(241)}), many=True),
    "to_PhoneNumber": Part(
        Entity({"PhoneNumber": Text(30), "PhoneNumberType": Text(1), "DestinationLocationCountry": Text(3)}),
        many=True,
    ),
})  # fmt: skip
_SUPPLIER = Entity({
    "to_SupplierCompany": Part(
        Entity({
            "CompanyCode": Text(4),
            "ReconciliationAccount": Text(10),
            "PaymentTerms": Text(4),
        }, required=("CompanyCode",)),
        many=True,
    ),
    "to_SupplierPurchasingOrg": Part(
        Entity({
            "PurchasingOrganization": Text(4),
            "PurchaseOrderCurrency": Text(5),
            "PaymentTerms": Text(4),
        }, required=("PurchasingOrganization", "PurchaseOrderCurrency")),
        many=True,
    ),
})  # fmt: skip
_BUSINESS_PARTNER = Entity(
    {
        "BusinessPartner": Text(10),
        "BusinessPartnerCategory": Text(1, ("1", "2", "3")),
        "BusinessPartnerGrouping": Text(4),
        "BusinessPartnerIDByExtSystem": Text(20),
        "BusinessPartnerIsBlocked": Flag(),
        "CorrespondenceLanguage": Text(2),
        "OrganizationBPName1": Text(40),
        "OrganizationBPName2": Text(40),
        "OrganizationBPName3": Text(40),
        "SearchTerm1": Text(20),
        "SearchTerm2": Text(20),
        "to_BusinessPartnerAddress": Part(_ADDRESS, many=True),
        "to_BusinessPartnerRole": Part(
            Entity({"BusinessPartnerRole": Text(6)}, required=("BusinessPartnerRole",)), many=True
        ),
        "to_Supplier": Part(_SUPPLIER),
    },
    required=("BusinessPartnerCategory",),
)

_DESCRIPTION = Entity(
    {"Product": Text(40), "Language": Text(2), "ProductDescription": Text(40)}, required=("Language",)
)
_PRODUCT = Entity(
    {
        "Product": Text(40),
        "ProductType": Text(4),
        "ProductGroup": Text(9),
        "BaseUnit": Text(3),
        "CrossPlantStatus": Text(2),
        "IsMarkedForDeletion": Flag(),
        "IndustrySector": Text(1),
        "ProductOldID": Text(40),
        "ProductManufacturerNumber": Text(40),
        "to_Description": Part(_DESCRIPTION, many=True),
        "to_Plant": Part(
            Entity({"Plant": Text(4), "MRPType": Text(2), "PurchasingGroup": Text(3)}, required=("Plant",)),
            many=True,
        ),
    },
    required=("Product", "ProductType", "BaseUnit"),
)

ENTITY_SETS = (
    EntitySet("API_PURCHASEREQ_PROCESS_SRV", "A_PurchaseRequisitionHeader", ("PurchaseRequisition",), _REQUISITION, 10_000_001, updates=False),
    EntitySet(
        "API_MATERIAL_DOCUMENT_SRV", "A_MaterialDocumentHeader", ("MaterialDocumentYear", "MaterialDocument"), _MATERIAL_DOCUMENT, 4_900_000_001, updates=False
    ),
    EntitySet("API_MAINTENANCEORDER;v=0002", "MaintenanceOrder", ("MaintenanceOrder",), _MAINTENANCE_ORDER, 4_000_001),
    EntitySet("API_BUSINESS_PARTNER", "A_BusinessPartner", ("BusinessPartner",), _BUSINESS_PARTNER, 1_000_001, defaults={"OrganizationBPName2": ""}),
    EntitySet("API_PRODUCT_SRV", "A_Product", ("Product",), _PRODUCT, kept={"to_Description": "A_ProductDescription"}, defaults={"IsMarkedForDeletion": False}),
    EntitySet("API_PRODUCT_SRV", "A_ProductDescription", ("Product", "Language"), _DESCRIPTION),
)  # fmt: skip


def values_of(name: str, document: Any) -> Iterator[str]:
    """Every text that stands under this name anywhere in a document."""
    if isinstance(document, dict):
        if isinstance(document.get(name), str):
            yield document[name]
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from values_of(name, item)
