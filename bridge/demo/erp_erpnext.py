"""ERPNext, as Frappe's REST API shows it: `/api/resource/{DocType}` and `/api/resource/{DocType}/{name}`, with a token.

As frappe/api/v1.py and frappe/exceptions.py have it: a document is `{"data": {…}}`; an error names its exception as
`exc_type`, and most are 417, also those that pass: DocumentLockedError, TimestampMismatchError. A name that is taken is 409, a
unique field's value that is taken is 417. Names: an item's code, a supplier's name, else a series.
https://docs.frappe.io/framework/user/en/api/rest
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from bridge.demo.erp_server import Call, ErpServer, Reply, basic

API_KEY, API_SECRET = "fracttal-bridge", "erpnext-erp-demo-secret"
NO_STOCK = "NO-STOCK"
"""An item that is never in stock."""
_SERIES = {"Material Request": "MAT-MR-2026-", "Stock Entry": "MAT-STE-2026-"}
_NAMED_BY = {"Item": "item_code", "Supplier": "supplier_name"}
_UNIQUE = ("custom_fracttal_delivery", "custom_fracttal_code")
_MANDATORY = {
    "Item": ("item_code", "item_group", "stock_uom"),
    "Supplier": ("supplier_name", "supplier_type"),
    "Material Request": ("material_request_type", "company", "transaction_date", "items"),
    "Stock Entry": ("stock_entry_type", "company", "items"),
}
_ROW = ("item_code", "qty")
_STATUS = {
    "AuthenticationError": 401,
    "PermissionError": 403,
    "DoesNotExistError": 404,
    "DuplicateEntryError": 409,
}


class Refused(Exception):
    """kind: the exception's name, as Frappe has it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ErpNextErp(ErpServer):
    """documents: by DocType and name. locked: names of those that somebody has open just now."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.locked: set[str] = set()
        self._allowed = {f"token {API_KEY}:{API_SECRET}", basic(API_KEY, API_SECRET)}

    def handle(self, call: Call) -> Reply:
        try:
            if call.headers.get("authorization") not in self._allowed:
                raise Refused("AuthenticationError", "Invalid API credentials")
            return self._asked(call)
        except Refused as refused:
            status = _STATUS.get(refused.kind, 417)
            exception = f"frappe.exceptions.{refused.kind}: {refused}"
            said = json.dumps([json.dumps({"message": str(refused), "indicator": "red"})])
            return Reply(status, {"exc_type": refused.kind, "exception": exception, "_server_messages": said})

    def _asked(self, call: Call) -> Reply:
        match call.method, call.segments:
            case "GET", ["api", "resource", doctype]:
                return Reply(200, {"data": list(self._listed(doctype, parse_qs(call.query)))})
            case "POST", ["api", "resource", doctype] if doctype in _MANDATORY:
                return Reply(200, {"data": self._insert(doctype, call)})
            case "GET", ["api", "resource", doctype, name]:
                return Reply(200, {"data": self._document(doctype, name)})
            case "PUT", ["api", "resource", doctype, name]:
                return Reply(200, {"data": self._update(doctype, name, call)})
        raise Refused("DoesNotExistError", f"{call.method} {call.path} not found")

    def _listed(self, doctype: str, query: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
        wanted = json.loads(query.get("filters", ["[]"])[0])
        for (of, name), document in self.documents.items():
            if of == doctype and all(
                document.get(field) == value for field, sign, value in wanted if sign == "="
            ):
                yield {"name": name}

    def _document(self, doctype: str, name: str) -> dict[str, Any]:
        if (doctype, name) not in self.documents:
            raise Refused("DoesNotExistError", f"{doctype} {name} not found")
        return self.documents[doctype, name]

    def _insert(self, doctype: str, call: Call) -> dict[str, Any]:
        body = _object(call)
        self._check(doctype, body)
        by = _NAMED_BY.get(doctype)
        name = str(body[by]).strip() if by else f"{_SERIES[doctype]}{self._number(doctype):05}"
        if (doctype, name) in self.documents:
            raise Refused("DuplicateEntryError", f"{doctype} {name} already exists")
        self._check_unique(doctype, body)
        document = {"docstatus": 0, **body, "doctype": doctype, "name": name}
        self.documents[doctype, name] = document
        self.record("created", doctype, name, call)
        return document

    def _number(self, doctype: str) -> int:
        return 1 + sum(of == doctype for of, _ in self.documents)

    def _update(self, doctype: str, name: str, call: Call) -> dict[str, Any]:
        document, body = self._document(doctype, name), _object(call)
        if name in self.locked:
            raise Refused("TimestampMismatchError", "Document has been modified after you have opened it")
        changed = {**document, **body}
        if changed != document:
            self.documents[doctype, name] = changed
            self.record("updated", doctype, name, call)
        return changed

    def _check(self, doctype: str, body: dict[str, Any]) -> None:
        missing = [field for field in _MANDATORY[doctype] if body.get(field) in (None, "", [])]
        rows = body.get("items", [])
        missing += [
            f"items[{at}].{field}" for at, row in enumerate(rows) for field in _ROW if not row.get(field)
        ]
        if missing:
            raise Refused("MandatoryError", f"[{doctype}]: {', '.join(missing)}")
        for at, row in enumerate(rows, start=1):
            if row["item_code"] in self.locked:
                raise Refused(
                    "DocumentLockedError", "This document is currently locked and queued for execution"
                )
            if row["item_code"] == NO_STOCK and body.get("docstatus") == 1:
                raise Refused("NegativeStockError", f"Row {at}: {row['qty']} units of {NO_STOCK} needed")

    def _check_unique(self, doctype: str, body: dict[str, Any]) -> None:
        for (of, name), document in self.documents.items():
            for field in _UNIQUE:
                if of == doctype and field in body and document.get(field) == body[field]:
                    raise Refused("UniqueValidationError", f"{field} must be unique: see {name}")


def _object(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise Refused("ValidationError", "the body is no document")
    return call.body
