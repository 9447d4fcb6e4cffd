"""What a login sends, and what is read of its answer."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from connectors.auth import check_auth
from connectors.auth.kinds import secret_texts
from connectors.auth.login import login
from connectors.auth.passes import IssuerAnswer, Moment, NotGranted, Pass, PassRequest

BASE = "https://erp.example/b1s/v1/"
NOW = Moment(0, "")


def request(**members: Any) -> PassRequest:
    auth = {"type": "session", **members}
    check_auth(auth)
    return login(auth, BASE).request(NOW)


def granted(answer: IssuerAnswer, **members: Any) -> Pass:
    auth = {"type": "session", "path": "/Login", **members}
    check_auth(auth)
    return login(auth, BASE).granted(answer)


def test_a_path_stands_below_base_url_and_a_url_alone() -> None:
    assert (login({"type": "session", "path": "/Login"}, BASE).url, request(path="/Login").target) == (
        "https://erp.example",
        "/b1s/v1/Login",
    )
    elsewhere = {"type": "session", "url": "https://id.example:8443/in/?v=1", "query": {"a b": "ü&"}}
    assert login(elsewhere, BASE).url == "https://id.example:8443"
    assert login(elsewhere, BASE).request(NOW).target == "/in/?v=1&a+b=%C3%BC%26"


def test_numbers_of_a_body_keep_their_digits() -> None:
    sent = request(path="/Login", body={"Language": 25, "rate": Decimal("1.10"), "deep": [True, None]})
    assert sent.content == b'{"Language":25,"rate":1.10,"deep":[true,null]}'
    assert sent.headers["Content-Type"] == "application/json"


def test_a_login_may_want_basic_auth_and_another_method() -> None:
    sent = request(path="/session", method="GET", username="bridge", password="correct-horse")
    assert (sent.method, sent.content) == ("GET", b"")
    assert sent.headers["Authorization"] == "Basic YnJpZGdlOmNvcnJlY3QtaG9yc2U="
    assert sent.secrets == ["YnJpZGdlOmNvcnJlY3QtaG9yc2U="]
    assert "Content-Type" not in sent.headers


@pytest.mark.parametrize(
    ("members", "answer", "headers", "lasts"),
    [
        ({}, IssuerAnswer(200, {}, None, ["a=1", "b=2"]), {"cookie": "a=1; b=2"}, None),
        ({"lifetime": "25m"}, IssuerAnswer(200, {}, None, ["a=1"]), {"cookie": "a=1"}, 1500.0),
        (
            {"token": "data.id_token", "cookies": False},
            IssuerAnswer(200, {}, {"data": {"id_token": "T"}, "expires_in": 60}, ["a=1"]),
            {"Authorization": "Bearer T"},
            60.0,
        ),
        (
            {"token_header": "X-Auth-Token", "header": "X-Auth-Token"},
            IssuerAnswer(201, {"x-auth-token": "T"}, None, ["a=1"]),
            {"cookie": "a=1", "X-Auth-Token": "T"},
            None,
        ),
        (
            {"token": "token", "prefix": "Token "},
            IssuerAnswer(200, {}, {"token": "T"}),
            {"Authorization": "Token T"},
            None,
        ),
    ],
)
def test_what_requests_carry_after_a_login(
    members: Mapping[str, Any], answer: IssuerAnswer, headers: Mapping[str, str], lasts: float | None
) -> None:
    found = granted(answer, **members)
    assert (found.headers, found.lasts_s) == (headers, lasts)


@pytest.mark.parametrize(
    ("members", "answer", "said"),
    [
        ({}, IssuerAnswer(200, {}, {"token": "T"}), "no cookie in its answer; where it gives a token, write auth.token"),
        ({"token": "a.b"}, IssuerAnswer(200, {}, {"a": {"c": 1}}, ["a=1"]), "no token at a.b in its JSON answer"),
        ({"token": "a"}, IssuerAnswer(200, {}, "<html>"), "no token at a in its JSON answer"),
        ({"token_header": "X-T"}, IssuerAnswer(200, {}, None), "no token in its header x-t"),
    ],
)  # fmt: skip
def test_an_answer_without_what_was_promised_says_what_it_lacks(
    members: Mapping[str, Any], answer: IssuerAnswer, said: str
) -> None:
    with pytest.raises(NotGranted) as refused:
        granted(answer, **members)
    assert str(refused.value) == said


def test_of_a_body_all_is_secret_but_what_is_known_to_be_none() -> None:
    body = {
        "CompanyDB": "SBODEMO",
        "Password": "p-4711",
        "branch": "b-4711",
        "pin": 4711,
        "UserName": "u-4711",
    }
    auth = {"type": "session", "path": "/Login", "body": body, "open": ["branch", "Password"]}
    assert secret_texts(auth) == {"p-4711", "4711"}
    assert secret_texts(auth, frozenset({"body.UserName"})) == {"p-4711", "4711", "u-4711"}
