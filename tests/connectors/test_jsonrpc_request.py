"""How a call is written in each dialect, and which connections may speak them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from connectors import registry
from connectors.jsonrpc import prepare_in
from connectors.jsonrpc_dialect import Dialect, odoo_call
from connectors.protocol import ConnectionSettings, Prepared, RequestInvalid, SettingsInvalid

KEY = "fracttal:0/16B3748:3/acme/vendors"
LOGIN = {"type": "login", "username": "bridge", "password": "correct-horse-battery"}


def prepared(dialect: Dialect, method: Any, params: Any = None, **more: Any) -> Prepared:
    given = {} if params is None else {"params": params}
    return prepare_in(dialect, {"method": method, **given, **more}, KEY, "acme db")


def sent(dialect: Dialect, method: Any, params: Any = None) -> Any:
    return json.loads(prepared(dialect, method, params).content, parse_float=Decimal)


def test_a_call_is_an_envelope_whose_id_is_the_idempotency_key() -> None:
    shown = registry.prepare(
        "jsonrpc", {"method": "orders.create", "params": {"cost": Decimal("1273.10")}}, KEY
    )
    assert shown.content == (
        b'{"jsonrpc":"2.0","method":"orders.create","params":{"cost":1273.10},"id":"' + KEY.encode() + b'"}'
    )
    assert shown.to_json() == {
        "connector": "jsonrpc",
        "method": "orders.create",
        "params": {"cost": Decimal("1273.10")},
        "headers": {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Idempotency-Key": KEY,
            "User-Agent": "fracttal-bridge",
        },
        "id": KEY,
    }


def test_params_may_be_a_list_or_left_out() -> None:
    assert sent("2.0", "sum", [1, "a", None]) == {
        "jsonrpc": "2.0",
        "method": "sum",
        "params": [1, "a", None],
        "id": KEY,
    }
    assert sent("2.0", "ping") == {"jsonrpc": "2.0", "method": "ping", "id": KEY}


def test_odoo_takes_named_arguments_at_the_methods_own_path() -> None:
    call = prepared("odoo", "res.partner.load", {"fields": ["id"], "data": [["a.b"]]})
    assert call.parts["path"] == "/json/2/res.partner/load"
    assert call.parts["headers"]["X-Odoo-Database"] == "acme db"
    assert json.loads(call.content) == {"fields": ["id"], "data": [["a.b"]]}
    assert json.loads(prepared("odoo", "res.partner.search").content) == {}
    assert prepared("odoo", "res.partner.a/b").parts["path"] == "/json/2/res.partner/a%2Fb"


def test_odoos_old_interface_takes_them_as_execute_kw() -> None:
    call = prepared("odoo_legacy", "res.partner.load", {"fields": ["id"], "data": [["a.b"]]})
    assert call.parts["path"] == "/jsonrpc"
    whole = odoo_call(b'"acme db",7,"pass"', call.content, KEY)
    assert json.loads(whole) == {
        "jsonrpc": "2.0",
        "method": "call",
        "params": {
            "service": "object",
            "method": "execute_kw",
            "args": ["acme db", 7, "pass", "res.partner", "load", [], {"fields": ["id"], "data": [["a.b"]]}],
        },
        "id": KEY,
    }


@pytest.mark.parametrize(
    "method, params, args, kwargs",
    [
        ("m.write", {"ids": [1], "vals": {"a": 1}, "context": {}}, [[1]], {"vals": {"a": 1}, "context": {}}),
        ("m.create", {"vals_list": [{"a": 1}], "context": {}}, [[{"a": 1}]], {"context": {}}),
        ("m.search", [[["a", "=", 1]]], [[["a", "=", 1]]], {}),
        ("m.search", None, [], {}),
    ],
)
def test_ids_and_values_stand_where_execute_kw_wants_them(
    method: str, params: Any, args: Any, kwargs: Any
) -> None:
    assert sent("odoo_legacy", method, params)[2:] == [args, kwargs]


def test_tryton_takes_three_members_and_spells_decimals() -> None:
    call = prepared(
        "tryton", "model.party.party.create", [[{"price": Decimal("1.50"), "sizes": [1, Decimal(2)]}], {}]
    )
    assert call.parts["path"] == "/acme%20db/rpc/"
    assert json.loads(call.content) == {
        "id": KEY,
        "method": "model.party.party.create",
        "params": [
            [
                {
                    "price": {"__class__": "Decimal", "decimal": "1.50"},
                    "sizes": [1, {"__class__": "Decimal", "decimal": "2"}],
                }
            ],
            {},
        ],
    }
    assert call.parts["params"][0][0]["price"] == Decimal("1.50")


def test_a_path_of_the_mappings_goes_before_that_of_the_connection() -> None:
    request = {"method": "a", "path": "/x/y%2Fz", "headers": {"X-Company": "1", "idempotency-key": "mine"}}
    call = prepare_in("2.0", request, KEY, path="/rpc")
    assert call.parts["path"] == "/x/y%2Fz"
    assert call.parts["headers"]["X-Company"] == "1"
    assert [name for name in call.parts["headers"] if name.lower() == "idempotency-key"] == [
        "idempotency-key"
    ]
    assert prepare_in("2.0", {"method": "a"}, KEY, path="/rpc").parts["path"] == "/rpc"


@pytest.mark.parametrize(
    "dialect, request_, words",
    [
        ("2.0", {"method": ""}, "request.method must be the name of a method"),
        ("2.0", {"method": 7}, "request.method"),
        ("2.0", {"method": "a", "params": "b"}, "request.params is a list or an object, not str"),
        ("2.0", {"method": "a", "params": [float("nan"), object()]}, "request.params is no JSON value"),
        ("2.0", {"method": "a", "body": {}}, "request.body: jsonrpc knows only method, params"),
        ("2.0", {"method": "a", "headers": {"Authorization": "x"}}, "is set by the connection"),
        ("odoo", {"method": "create"}, "MODEL.METHOD"),
        ("odoo", {"method": "m.create", "params": [1]}, "Odoo takes named arguments, not list"),
        ("tryton", {"method": "m", "params": {"a": 1}}, "the context last, not dict"),
        ("tryton", {"method": "m"}, "not NoneType"),
        ("tryton", {"method": "m", "params": [Decimal("1E+999999")]}, "more than 200000 digits"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(dialect: Dialect, request_: Any, words: str) -> None:
    with pytest.raises(RequestInvalid, match=words.replace(".", r"\.")):
        prepare_in(dialect, request_, KEY, "db")


def checked(auth: Any = None, **options: Any) -> None:
    settings = ConnectionSettings("https://erp.example", auth or {}, options=options)
    registry.check_settings("jsonrpc", settings)


def test_connections_that_are_right() -> None:
    checked()
    checked({"type": "bearer", "token": "secret"}, dialect=Decimal("2.0"), path="/rpc")
    checked({"type": "bearer", "token": "secret"}, dialect="odoo")
    checked({"type": "bearer", "token": "secret"}, dialect="odoo", database="acme")
    checked(LOGIN, dialect="odoo_legacy", database="acme")
    checked(LOGIN, dialect="tryton", database="acme")
    checked({"type": "basic", "username": "a", "password": "b"}, dialect="tryton", database="acme")


@pytest.mark.parametrize(
    "auth, options, key",
    [
        (None, {"dialect": "xml"}, "dialect"),
        (None, {"csrf": True}, "csrf"),
        (None, {"database": "acme"}, "database"),
        (LOGIN, {"dialect": "tryton"}, "database"),
        (LOGIN, {"dialect": "tryton", "database": 5}, "database"),
        (LOGIN, {"dialect": "tryton", "database": "a\n"}, "database"),
        (None, {"path": "rpc"}, "path"),
        (LOGIN, {}, "auth.type"),
        (LOGIN, {"dialect": "odoo"}, "auth.type"),
        (None, {"dialect": "odoo_legacy", "database": "acme"}, "auth"),
        ({**LOGIN, "password": ""}, {"dialect": "tryton", "database": "acme"}, "auth.password"),
        ({**LOGIN, "token": "x"}, {"dialect": "tryton", "database": "acme"}, "auth.token"),
        ({"type": "nothing"}, {}, "auth.type"),
    ],
)
def test_a_connection_that_cannot_be_opened_is_refused_by_key(auth: Any, options: Any, key: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        checked(auth, **options)
    assert raised.value.key == key
    assert "correct-horse" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "path", "header"),
    [
        ({"dialect": "odoo", "database": "acme db"}, "/json/2/res.partner/load", "acme db"),
        ({"dialect": "odoo_legacy", "database": "acme db"}, "/jsonrpc", None),
        ({"path": "/rpc"}, "/rpc", None),
        ({}, None, None),
    ],
)
def test_a_preview_of_a_route_shows_the_call_as_its_connection_has_it(
    options: dict[str, Any], path: str | None, header: str | None
) -> None:
    request = {"method": "res.partner.load", "params": {"data": []}, "headers": {"X-A": "b"}}
    show = registry.showing("jsonrpc", ConnectionSettings("https://erp.example", options=options))
    shown = show(registry.prepare("jsonrpc", request, KEY))
    assert (shown.get("path"), shown["headers"].get("X-Odoo-Database")) == (path, header)
    assert (shown["method"], shown["headers"]["X-A"], shown["id"]) == ("res.partner.load", "b", KEY)
    connector = registry.open_connector(
        "jsonrpc",
        ConnectionSettings(
            "https://erp.example", LOGIN if "odoo_legacy" in options.values() else {}, options=options
        ),
    )
    assert shown == connector.prepare(request, KEY).to_json()
