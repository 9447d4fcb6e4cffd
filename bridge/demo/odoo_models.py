"""The records of the simulated Odoo: a few models, their external ids, and what `load` makes of a table of texts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.demo.erp_server import Action

Done = list[tuple[Action, str]]
_ORDER_LINE = frozenset({"product_id", "name", "product_qty", "price_unit", "date_planned"})
_MOVE = frozenset({"product_id", "product_uom_qty", "location_id", "location_dest_id"})
FIELDS: Mapping[str, frozenset[str]] = {
    "res.partner": frozenset({
        "name", "ref", "street", "street2", "city", "zip", "email", "phone", "vat", "website", "is_company",
        "supplier_rank", "customer_rank", "active", "comment",
    }),
    "product.product": frozenset({
        "name", "default_code", "barcode", "type", "is_storable", "purchase_ok", "sale_ok", "active", "list_price",
        "standard_price", "weight", "volume", "description", "description_purchase", "description_sale",
    }),
    "purchase.order": frozenset({"partner_id", "partner_ref", "origin", "date_planned", "order_line", "state"}),
    "maintenance.request": frozenset({
        "name", "description", "request_date", "schedule_date", "priority", "maintenance_type", "equipment_id",
        "stage_id",
    }),
    "stock.picking": frozenset({
        "picking_type_id", "location_id", "location_dest_id", "origin", "scheduled_date", "move_ids", "state",
    }),
    "maintenance.equipment": frozenset({"name", "serial_no"}),
}  # fmt: skip
_REQUIRED = {"res.partner": "name", "product.product": "name", "purchase.order": "partner_id"}
_LINES = {"order_line": _ORDER_LINE, "move_ids": _MOVE}
STANDARD = ("base.main_partner", "stock.picking_type_internal", "stock.stock_location_stock",
            "fracttal.used_up", "maintenance.stage_0", "maintenance.stage_1", "maintenance.stage_3",
            "maintenance.stage_4")  # fmt: skip
"""External ids that a database has from the start."""


class OdooError(Exception):
    """name: of the exception, as Odoo serializes it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class _Row:
    """One record of a load: its external id, its values, and its lines by their field."""

    external: str
    values: dict[str, Any]


class Models:
    """records: by model and id. external: model and id by external id."""

    def __init__(self) -> None:
        self.fields = FIELDS
        self.records: dict[tuple[str, int], dict[str, Any]] = {}
        self.external: dict[str, tuple[str, int]] = {}
        self.methods: Mapping[str, Callable[..., tuple[Any, Done]]] = {
            "load": self.load,
            "create": self.create,
            "write": self.write,
            "read": self.read,
            "button_validate": self.button_validate,
        }
        self.writing = frozenset({"load", "create", "write", "button_validate"})

    def load(self, model: str, fields: list[str], data: list[list[Any]]) -> tuple[Any, Done]:
        messages = [*self._unknown(model, fields), *self._unmatched(fields, data)]
        rows = [] if messages else list(_rows(fields, data))
        required = _REQUIRED.get(model, "")
        for number, row in enumerate(rows):
            if row.external not in self.external and required and not row.values.get(required):
                messages.append(
                    _message(number, required, f"Missing required value for the field '{required}'")
                )
        if messages:
            return {"ids": False, "messages": messages, "nextrow": 0}, []
        written = [self._loaded(model, row) for row in rows]
        done = [(action, str(number)) for number, action in written if action is not None]
        return {"ids": [number for number, _ in written], "messages": [], "nextrow": 0}, done

    def _loaded(self, model: str, row: _Row) -> tuple[int, Action | None]:
        place = self.external.get(row.external)
        if place is None:
            number = self._new(model, row.values)
            if row.external:
                self.external[row.external] = (model, number)
            return number, "created"
        known = self.records[place]
        merged = {**known, **row.values, **_lines(known, row.values)}
        self.records[place] = merged
        return place[1], "updated" if merged != known else None

    def _unknown(self, model: str, fields: list[str]) -> list[dict[str, Any]]:
        known = self.fields[model]
        wrong = [field for field in fields if field not in {"id", ".id"} and not _is_known(field, known)]
        return [_message(0, field, f"The field '{field}' does not exist on {model}") for field in wrong]

    def _unmatched(self, fields: list[str], data: list[list[Any]]) -> list[dict[str, Any]]:
        """Products by their code, and whatever else by external ids, have to be there."""
        codes = {
            str(values.get("default_code"))
            for (model, _), values in self.records.items()
            if model == "product.product"
        }
        known = {"id": {*self.external, *STANDARD}, "product_id": codes}
        found = []
        for number, row in enumerate(data):
            for field, value in zip(fields, row, strict=True):
                name, _, last = field.rpartition("/")
                if (
                    value
                    and name
                    and last in known
                    and (last != "id" or name not in _LINES)
                    and value not in known[last]
                ):
                    text = f"No matching record found for name '{value}' in field '{field}'"
                    found.append(_message(number, field, text))
        return found

    def create(self, model: str, vals_list: Any) -> tuple[Any, Done]:
        several = vals_list if isinstance(vals_list, list) else [vals_list]
        for values in several:
            self._check(model, values)
            if (needed := _REQUIRED.get(model)) and not values.get(needed):
                raise OdooError("odoo.exceptions.ValidationError", f"Missing required fields: {needed}")
        numbers = [self._new(model, values) for values in several]
        return numbers, [("created", str(number)) for number in numbers]

    def write(self, model: str, ids: list[int], vals: dict[str, Any]) -> tuple[Any, Done]:
        self._check(model, vals)
        done: Done = []
        for number in self._existing(model, ids):
            known = self.records[model, number]
            self.records[model, number] = {**known, **vals}
            done += [("updated", str(number))] if self.records[model, number] != known else []
        return True, done

    def read(self, model: str, ids: list[int], fields: list[str] | None = None) -> tuple[Any, Done]:
        found = []
        for number in self._existing(model, ids):
            values = self.records[model, number]
            found.append(
                {"id": number, **{name: values.get(name, False) for name in fields or sorted(values)}}
            )
        return found, []

    def button_validate(self, model: str, ids: list[int]) -> tuple[Any, Done]:
        done: Done = []
        for number in self._existing(model, ids):
            values = self.records[model, number]
            if not values.get("move_ids"):
                raise OdooError("odoo.exceptions.UserError", "Please add some items to move.")
            if values["state"] != "done":
                self.records[model, number] = {**values, "state": "done"}
                done.append(("updated", str(number)))
        return True, done

    def _new(self, model: str, values: Mapping[str, Any]) -> int:
        number = len(self.records) + 1
        state = {"state": "draft"} if "state" in self.fields[model] else {}
        self.records[model, number] = {**state, **values}
        return number

    def _existing(self, model: str, ids: list[int]) -> list[int]:
        if missing := [number for number in ids if (model, number) not in self.records]:
            text = f"Record does not exist or has been deleted. (Record: {model}({missing[0]},))"
            raise OdooError("odoo.exceptions.MissingError", text)
        return ids

    def _check(self, model: str, values: Mapping[str, Any]) -> None:
        if wrong := sorted(set(values) - self.fields[model]):
            raise OdooError("builtins.ValueError", f"Invalid field '{wrong[0]}' on model '{model}'")


def _lines(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A line with an external id is written, any other one is one more."""
    merged = {}
    for name in _LINES.keys() & values.keys():
        ids = {line.get("id") for line in values[name] if line.get("id")}
        merged[name] = [line for line in known.get(name, []) if line.get("id") not in ids] + values[name]
    return merged


def _is_known(field: str, known: frozenset[str]) -> bool:
    name, _, inner = field.partition("/")
    below = _LINES.get(name)
    if name not in known or not inner:
        return name in known
    return inner in {"id", ".id"} or (below is not None and inner.partition("/")[0] in below)


def _rows(fields: list[str], data: list[list[Any]]) -> Iterator[_Row]:
    """A row without values of its own, whose lines have some, goes on with the record above it."""
    record: _Row | None = None
    for row in data:
        cells = dict(zip(fields, row, strict=True))
        own = {name: value for name, value in cells.items() if name.partition("/")[0] not in _LINES}
        if record is None or any(own.values()):
            if record is not None:
                yield record
            values = {name.partition("/")[0]: value for name, value in own.items() if name != "id"}
            record = _Row(str(own.get("id") or ""), values)
        for name in _LINES:
            line = {
                key.partition("/")[2]: value for key, value in cells.items() if key.startswith(f"{name}/")
            }
            if any(line.values()):
                record.values.setdefault(name, []).append(line)
    if record is not None:
        yield record


def _message(row: int, field: str, text: str) -> dict[str, Any]:
    return {"type": "error", "rows": {"from": row, "to": row}, "record": row, "field": field, "message": text}
