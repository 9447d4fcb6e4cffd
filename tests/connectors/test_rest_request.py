"""What a rendered request becomes; no network."""

from decimal import Decimal
from typing import Any

import pytest

from connectors import registry
from connectors.http_request import query_target
from connectors.protocol import ConnectionSettings, Prepared, RequestInvalid, SettingsInvalid

KEY = "fracttal:0/16B3748:3/acme/work-orders"
HUGE = Decimal("1E+999999")
"""An ERP's answer may hold it, and a later request may want it, written out."""


def prepare(**request: Any) -> Prepared:
    return registry.prepare("rest", {"method": "POST", "path": "/x", **request}, KEY)


def test_a_preview_shows_the_exact_request() -> None:
    prepared = prepare(path="/Items('a%2Fb')", query={"$top": 5}, body={"cost": Decimal("1273.10")})
    assert prepared.to_json() == {
        "connector": "rest",
        "method": "POST",
        "path": "/Items('a%2Fb')",
        "query": {"$top": "5"},
        "headers": {
            "Accept": "application/json",
            "Idempotency-Key": KEY,
            "User-Agent": "fracttal-bridge",
            "Content-Type": "application/json",
        },
        "body": {"cost": Decimal("1273.10")},
    }
    assert prepared.content == b'{"cost":1273.10}'


def test_a_body_of_null_is_json_null_and_no_body_is_none() -> None:
    assert prepare(body=None).content == b"null"
    without = prepare()
    assert without.content == b""
    assert "Content-Type" not in without.parts["headers"]


def test_a_mapping_s_own_header_wins_in_any_case() -> None:
    headers = prepare(headers={"idempotency-key": "mine", "accept": "*/*"}).parts["headers"]
    assert headers["idempotency-key"] == "mine"
    assert not {"Idempotency-Key", "Accept"} & set(headers)


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ({}, ""),
        ({"$filter": "Name eq 'O''Neil & co'"}, "?$filter=Name%20eq%20'O''Neil%20%26%20co'"),
        ({"a": None, "b": True, "c": Decimal("1E+3")}, "?b=true&c=1000"),
        ({"id": [1, None, "x;y"]}, "?id=1&id=x%3By"),
        ({"p+q": "a+b=c#d"}, "?p%2Bq=a%2Bb%3Dc%23d"),
        ({"ñ": "ü"}, "?%C3%B1=%C3%BC"),
    ],
)
def test_query_as_sent(query: dict[str, Any], target: str) -> None:
    assert query_target(prepare(query=query).parts["query"]) == target


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a b/ñ", "/a%20b/%C3%B1"),
        ("/eid:39.373.782%2F0019-79", "/eid:39.373.782%2F0019-79"),
        ("/%41%7E", "/%41%7E"),
        ("/a//b/", "/a//b/"),
        ("/...", "/..."),
    ],
)
def test_path_as_sent(path: str, sent: str) -> None:
    assert prepare(path=path).parts["path"] == sent


def test_a_path_that_is_a_value_is_told_that_its_slash_belongs_into_the_mapping() -> None:
    with pytest.raises(
        RequestInvalid, match=r"this is '%2Fjp'; a value's / is escaped, so write it in the mapping"
    ):
        prepare(path="%2Fjp")


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "x"},
        {"path": None},
        {"path": "/a?b=1"},
        {"path": "/a#b"},
        {"path": "/a/../b"},
        {"path": "/a/%2e%2E"},
        {"path": "/a/./b"},
        {"path": "/100%"},
        {"method": "PO ST"},
        {"method": None},
        {"query": ["a"]},
        {"query": {"a": {"b": 1}}},
        {"query": {"a": 1.5}},
        {"query": {"a": HUGE}},
        {"headers": {"X": -HUGE}},
        {"form": {"a": 1 / HUGE}},
        {"headers": {"X": "a\r\nEvil: 1"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": "\x00"}},
        {"headers": {"X": "ñ"}},
        {"headers": {"X Y": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"Authorization": "Basic x"}},
        {"headers": {"content-length": "3"}},
        {"headers": {"Cookie": "a=b"}},
        {"headers": {"X": "1", "x": "2"}},
        {"body": {"a": 2j}},
        {"form": {"a": 1}, "body": 1},
        {"form": {"a": {}}},
        {"text": 1},
        {"text": "\ud800"},
        {"xml": {}},
        {"xml": {"a": 1, "b": 2}},
        {"xml": {"a": [1, 2]}},
        {"xml": {"a b": 1}},
        {"xml": {"a": {"@b c": 1}}},
        {"xml": {"a": "\x0b"}},
        {"xml": {"a": {"@b": "\ufffe"}}},
        {"xml": {"a": 2j}},
        {"xml": {"a": HUGE}},
        {"xml": "<a/>"},
    ],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid, match=r"^request\."):
        prepare(**wrong)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("base_url", ConnectionSettings("ftp://erp.example")),
        ("base_url", ConnectionSettings("https://")),
        ("base_url", ConnectionSettings("https://u:p@erp.example")),
        ("base_url", ConnectionSettings("https://erp.example/?a=1")),
        ("base_url", ConnectionSettings("https://erp.example:0")),
        ("base_url", ConnectionSettings("https://erp.example:x")),
        ("base_url", ConnectionSettings("https://erp.example/a/../b")),
        ("auth.type", ConnectionSettings("https://erp.example", {"type": "magic"})),
        ("auth.password", ConnectionSettings("https://erp.example", {"type": "basic", "username": "u"})),
        ("auth.token", ConnectionSettings("https://erp.example", {"type": "bearer", "token": "se cret\n"})),
        (
            "auth.username",
            ConnectionSettings("https://erp.example", {"type": "basic", "username": "a:b", "password": "p"}),
        ),
        (
            "auth.user",
            ConnectionSettings("https://erp.example", {"type": "bearer", "token": "t", "user": "u"}),
        ),
        ("csrf", ConnectionSettings("https://erp.example", options={"csrf": "nowhere"})),
        ("csrt", ConnectionSettings("https://erp.example", options={"csrt": True})),
    ],
)
def test_wrong_settings_name_their_key_and_no_secret(key: str, settings: ConnectionSettings) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        registry.check_settings("rest", settings)
    assert caught.value.key == key
    assert "se cret" not in str(caught.value)


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(registry.UnknownKind, match=r"there is .*rest"):
        registry.shape("soup")
