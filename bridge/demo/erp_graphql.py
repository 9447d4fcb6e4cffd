"""A GraphQL ERP like JTL's cloud ERP: bearer token and X-Tenant-ID, suppliers, items, purchase orders, stock postings.

Names, inputs and codes as in JTL's public reference, API version 2.3 (developer.jtl-software.com/cloud/api-reference):
a repeated Idempotency-Key is answered as before, with `extensions.idempotency.<name>.wasReplayed`; what goes wrong comes
with HTTP 200 and `extensions.code`; every answer tells its X-RateLimit. Documents are really validated, by graphql-core.
Simpler than JTL: every id that is not made here is that of a thing that exists, unless it begins with `none`.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from graphql import ExecutionResult, GraphQLError, build_schema, graphql_sync

from bridge.demo.erp_server import Call, ErpServer, Reply

TOKEN = "graphql-erp-demo-token"  # noqa: S105  the simulator's own, for this machine alone
PATH = "/erp/v2/graphql"
INACTIVE_SUPPLIER = "SUP-INACTIVE"
STOCK = Decimal(1000)
"""Of each item in each warehouse, at first."""
_WINDOW_S = 60.0
_SCHEMA = """
scalar DateTime
scalar Decimal
type Query {
  QuerySuppliers(first: Int, where: SupplierFilterInput): QuerySuppliersConnection
  QueryItems(first: Int, where: ItemListItemFilterInput): QueryItemsConnection
}
input StringOperationFilterInput { eq: String }
input SupplierFilterInput { supplierNumber: StringOperationFilterInput }
input ItemListItemFilterInput { sku: StringOperationFilterInput }
type Supplier { id: ID! supplierNumber: String companyName: String }
type ItemListItem { id: ID! sku: String name: String }
type QuerySuppliersConnection { nodes: [Supplier!] totalCount: Int! }
type QueryItemsConnection { nodes: [ItemListItem!] totalCount: Int! }
type Mutation {
  CreateSupplier(request: CreateSupplierCommandRequestInput!): SupplierCommandResponse!
  UpdateSupplier(request: UpdateSupplierCommandRequestInput!): SupplierCommandResponse!
  CreateItem(request: CreateItemCommandRequestInput!): CreateItemCommandResponse!
  ChangeItem(request: ChangeItemCommandRequestInput!): ChangeItemCommandResponse!
  CreatePurchaseOrder(request: CreatePurchaseOrderCommandRequestInput!): CreatePurchaseOrderCommandResponse!
  ExecuteOutboundStockPosting(request: ExecuteOutboundStockPostingCommandRequestInput!): StockPostingResponse!
}
input SupplierAddressInput { street: String! postalCode: String! city: String! countryIso: String! }
input SupplierContactInput { phoneNumber: String emailAddress: String }
input CreateSupplierCommandRequestInput {
  companyName: String! supplierNumber: String address: SupplierAddressInput! contact: SupplierContactInput
  currencyIso: String! languageIso: String! defaultCompanyId: ID! defaultWarehouseId: ID!
}
input UpdateSupplierCommandRequestInput {
  supplierId: ID! companyName: String supplierNumber: String address: SupplierAddressInput contact: SupplierContactInput
}
type SupplierCommandResponse { id: ID! }
input ItemCategoryInput { categoryId: ID! }
input ItemCategoriesInput { categories: [ItemCategoryInput!]! }
input ItemIdentifiersInput { sku: String ownIdentifier: String }
input DescriptionDataInput { name: String }
input DefaultDescriptionInput { languageIso: String! descriptionData: DescriptionDataInput! }
input ItemDescriptionsInput { defaultDescriptions: [DefaultDescriptionInput!]! }
input CreateItemCommandRequestInput {
  categories: ItemCategoriesInput! identifiers: ItemIdentifiersInput! descriptions: ItemDescriptionsInput!
}
input ChangeItemCommandRequestInput { itemId: ID! identifiers: ItemIdentifiersInput descriptions: ItemDescriptionsInput }
type CreateItemCommandResponse { itemId: ID! }
type Item { id: ID! }
type ChangeItemCommandResponse { item: Item }
input CreatePurchaseOrderItemInput {
  itemId: ID! quantity: Decimal! netPurchasePriceAmount: Decimal! vatRatePercentage: Decimal! note: String
}
input CreatePurchaseOrderCommandRequestInput {
  supplierId: ID! requestedDeliveryDate: DateTime! items: [CreatePurchaseOrderItemInput]! warehouseId: ID
  externalOrderNumber: String referenceOrderNumber: String internalComment: String
}
type CreatePurchaseOrderCommandResponse { purchaseOrderId: ID! }
input ExecuteOutboundStockPostingCommandRequestInput { itemId: ID! warehouseId: ID! quantity: Decimal! }
type StockPostingResponse { totalQuantity: Decimal! }
"""
Request = dict[str, Any]


class GraphqlErp(ErpServer):
    """documents: by collection and id, as last written. stock: by item and warehouse, where it was posted."""

    def __init__(self, token: str = TOKEN, tenant: str = "", rate: int = 0) -> None:
        """tenant: the X-Tenant-ID it serves; "": any, but one must be told. rate: requests it takes within a minute; 0: any number."""
        super().__init__(f"Bearer {token}")
        self.documents: dict[tuple[str, str], Request] = {}
        self.stock: dict[tuple[str, str], Decimal] = {}
        self._tenant = tenant
        self._rate = rate
        self._recent: deque[float] = deque()
        self._remembered: dict[str, dict[str, Any]] = {}
        self._persisted: dict[str, str] = {}
        self._call: Call
        self._schema = build_schema(_SCHEMA)

    def unauthorized(self) -> Reply:
        return Reply(
            401, {"errors": [_error("UNAUTHENTICATED", "The access token is missing or has expired.")]}
        )

    def handle(self, call: Call) -> Reply:
        told = call.headers.get("x-tenant-id", "")
        if not told or told != (self._tenant or told):
            return Reply(401, {"errors": [_error("UNAUTHENTICATED", "X-Tenant-ID is missing or unknown.")]})
        headers = self._count()
        if int(headers["X-RateLimit-Remaining"]) < 0:
            headers |= {"X-RateLimit-Remaining": "0", "Retry-After": headers["X-RateLimit-Reset"]}
            return Reply(429, {"errors": [_error("RATE_LIMIT_EXCEEDED", "Too many requests.")]}, headers)
        if call.method != "POST" or call.path != PATH:
            return Reply(404, {"message": f"no such resource: {call.method} {call.path}"}, headers)
        return Reply(200, self._respond(call), headers)

    def _count(self) -> dict[str, str]:
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - _WINDOW_S:
            self._recent.popleft()
        self._recent.append(now)
        limit = self._rate or 100_000
        reset = max(1, round(self._recent[0] + _WINDOW_S - now))
        left = limit - len(self._recent)
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(reset),
        }

    def _respond(self, call: Call) -> dict[str, Any]:
        if not isinstance(call.body, dict):
            return {"errors": [_error("BAD_REQUEST", "The body is no GraphQL request.")]}
        document = self._document(call.body)
        if document is None:
            return {"errors": [_error("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")]}
        if call.idempotency_key in self._remembered:
            return self._remembered[call.idempotency_key]
        return self._executed(document, call)

    def _document(self, body: Mapping[str, Any]) -> str | None:
        """The request's own, or the one whose hash it tells. None where that is not known."""
        query = body.get("query")
        persisted = (body.get("extensions") or {}).get("persistedQuery") or {}
        told = persisted.get("sha256Hash") or str(body.get("documentId", "")).removeprefix("sha256:")
        if isinstance(query, str):
            if told:
                self._persisted[sha256(query.encode()).hexdigest()] = query
            return query
        return self._persisted.get(told)

    def trust(self, document: str) -> None:
        """As an operator would who registers the documents of an application."""
        self._persisted[sha256(document.encode()).hexdigest()] = document

    def _executed(self, document: str, call: Call) -> dict[str, Any]:
        self._call = call
        result = graphql_sync(
            self._schema,
            document,
            root_value=self._resolvers(),
            variable_values=call.body.get("variables") or {},
            operation_name=call.body.get("operationName"),
        )
        answer = _formatted(result)
        if call.idempotency_key and not result.errors and result.data and _changes(result.data):
            replayed = {name: {"wasReplayed": True} for name in result.data}
            self._remembered[call.idempotency_key] = {**answer, "extensions": {"idempotency": replayed}}
        return answer

    def _resolvers(self) -> dict[str, Callable[..., Any]]:
        return {
            "QuerySuppliers": lambda _info, **given: self._found("suppliers", "supplierNumber", given),
            "QueryItems": lambda _info, **given: self._found("items", "sku", given),
            "CreateSupplier": lambda _info, request: {"id": self._create("suppliers", "SUP", request)},
            "UpdateSupplier": lambda _info, request: {"id": self._update("suppliers", "supplierId", request)},
            "CreateItem": lambda _info, request: {"itemId": self._create("items", "ITM", _item(request))},
            "ChangeItem": lambda _info, request: {
                "item": {"id": self._update("items", "itemId", _item(request))}
            },
            "CreatePurchaseOrder": lambda _info, request: self._order(request),
            "ExecuteOutboundStockPosting": lambda _info, request: self._post(request),
        }

    def _found(self, collection: str, by: str, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = ((given.get("where") or {}).get(by) or {}).get("eq")
        nodes = [
            {"id": key, **body}
            for (where, key), body in self.documents.items()
            if where == collection and wanted in {None, body.get(by)}
        ]
        return {"nodes": nodes[: given.get("first") or 50], "totalCount": len(nodes)}

    def _create(self, collection: str, prefix: str, request: Request) -> str:
        key = f"{prefix}-{len(self.documents) + 1:06}"
        self.documents[collection, key] = request
        self.record("created", collection, key, self._call)
        return key

    def _update(self, collection: str, by: str, request: Request) -> str:
        changes = dict(request)
        key = changes.pop(by)
        known = self.documents.get((collection, key))
        if known is None:
            raise _refused(f"{collection.upper().removesuffix('S')}_NOT_FOUND", f"{key} was not found.")
        self.documents[collection, key] = {**known, **changes}
        self.record("updated", collection, key, self._call)
        return str(key)

    def _order(self, request: Request) -> dict[str, str]:
        if not request["items"]:
            raise _refused("PURCHASE_ORDER_LINE_ITEMS_REQUIRED", "An order needs an item.")
        if request["supplierId"] == INACTIVE_SUPPLIER:
            raise _refused("SUPPLIER_INACTIVE", f"The supplier {INACTIVE_SUPPLIER} is not active.")
        _check_there("SUPPLIER", request["supplierId"])
        for line in request["items"]:
            _check_there("ITEM", line["itemId"])
        return {"purchaseOrderId": self._create("purchase_orders", "PO", request)}

    def _post(self, request: Request) -> dict[str, int | float]:
        item, warehouse, quantity = request["itemId"], request["warehouseId"], Decimal(request["quantity"])
        _check_there("ITEM", item)
        _check_there("WAREHOUSE", warehouse)
        there = self.stock.get((item, warehouse), STOCK)
        if not 0 < quantity <= there:
            raise _refused("VALIDATION_ERROR", f"Quantity must be greater than 0, and at most {there}.")
        self.stock[item, warehouse] = there - quantity
        self._create("stock_postings", "SP", request)
        return {"totalQuantity": _number(there - quantity)}


def _item(request: Request) -> Request:
    """With what a list of items tells of it."""
    names = [
        each["descriptionData"]["name"]
        for each in request.get("descriptions", {}).get("defaultDescriptions", ())
        if "name" in each["descriptionData"]
    ]
    skus = [request["identifiers"]["sku"]] if "sku" in request.get("identifiers", {}) else []
    return request | {key: values[0] for key, values in (("name", names), ("sku", skus)) if values}


def _check_there(what: str, key: str) -> None:
    if key.startswith("none"):
        raise _refused(f"{what}_NOT_FOUND", f"{what.capitalize()} {key} was not found.")


def _refused(code: str, message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def _error(code: str, message: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}}


def _changes(data: Mapping[str, Any]) -> bool:
    return not any(name.startswith("Query") for name in data)


def _formatted(result: ExecutionResult) -> dict[str, Any]:
    """As HotChocolate answers: no `data` where nothing was executed, and a code for each error."""
    errors = [dict(error.formatted) for error in result.errors or ()]
    for error in errors:
        usual = "INTERNAL_SERVER_ERROR" if error.get("path") else "GRAPHQL_VALIDATION_FAILED"
        error.setdefault("extensions", {"code": usual})
    if errors and result.data is None and not any("path" in error for error in errors):
        return {"errors": errors}
    return {"data": result.data} | ({"errors": errors} if errors else {})


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
