"""The kind `soap` without a network: what it prepares, and which connections it takes."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from connectors import registry
from connectors.protocol import ConnectionSettings, RequestInvalid, SettingsInvalid

URL = "https://erp.example/ws"
WSDL = {"wsdl": f"{URL}?wsdl"}


def test_what_is_prepared_is_what_is_shown() -> None:
    request = {
        "operation": "Do",
        "arguments": {"a": Decimal("1.10"), "b": [{"@id": 1}]},
        "headers": {"Company": 7},
    }
    assert registry.prepare("soap", request, "k/1").to_json() == {
        "connector": "soap", "operation": "Do", "arguments": {"a": Decimal("1.10"), "b": [{"@id": 1}]},
        "headers": {"Company": 7}, "idempotency_key": "k/1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({}, "request.operation must be an operation's name, this is None"),
        ({"operation": "Do it"}, "request.operation must be an operation's name"),
        ({"operation": "Do", "body": {}}, "request.body: soap knows only operation, arguments, headers"),
        ({"operation": "Do", "arguments": "x"}, "request.arguments must be names and values"),
        ({"operation": "Do", "arguments": {"a b": 1}}, "request.arguments.a b: 'a b' is no name"),
        ({"operation": "Do", "arguments": {"a": {"b": "\x01"}}}, "request.arguments.a.b holds the character U+0001"),
        ({"operation": "Do", "headers": {"h": {"x": b""}}}, "request.headers.h.x must be a text"),
    ],
)  # fmt: skip
def test_what_no_wsdl_could_take_is_refused_before_it_is_sent(request_: Mapping[str, Any], says: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        registry.prepare("soap", request_, "k")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("key", "auth", "options"),
    [
        ("wsdl", {}, {}),
        ("wsdl", {}, {"wsdl": "/etc/passwd"}),
        ("wsdl", {}, {"wsdl": "file:///etc/passwd"}),
        ("wsdl", {}, {"wsdl": "wsdl/../../other/wsdl/x.wsdl"}),
        ("wsdl", {}, {"wsdl": "mappings/x.wsdl"}),
        ("wsdl", {}, {"wsdl": "wsdl"}),
        ("wsdl", {}, {"wsdl": "https://user@erp.example/x"}),
        ("wsdl", {}, {"wsdl": "https:///x"}),
        ("wsdl", {}, {"wsdl": 7}),
        ("prot", {}, {**WSDL, "prot": "x"}),
        ("port", {}, {**WSDL, "port": 7}),
        ("query", {}, {**WSDL, "query": "sap-client=100"}),
        ("addressing", {}, {**WSDL, "addressing": "yes"}),
        ("auth.type", {"type": "wsse"}, WSDL),
        ("auth.password", {"type": "wsse_username", "username": "u"}, WSDL),
        ("auth.digest", {"type": "wsse_username", "username": "u", "password": "p", "digest": "yes"}, WSDL),
        ("auth.nonce", {"type": "wsse_username", "username": "u", "password": "p", "nonce": "x"}, WSDL),
        ("auth.key", {"type": "wsse_signature", "certificate": "c"}, WSDL),
    ],
)  # fmt: skip
def test_a_connection_that_cannot_be_right_is_refused_by_its_key(
    key: str, auth: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        registry.check_settings("soap", ConnectionSettings(URL, auth, options=options))
    assert caught.value.key == key


@pytest.mark.parametrize("wsdl", [f"{URL}?wsdl", "wsdl/erp.wsdl", "wsdl/a/erp.wsdl"])
def test_a_wsdl_is_a_url_or_a_file_of_the_tenants(wsdl: str) -> None:
    registry.check_settings(
        "soap", ConnectionSettings(URL, options={"wsdl": wsdl, "query": {"sap-client": 100}})
    )
