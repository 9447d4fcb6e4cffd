"""No secret of a connection is in what an ERP's answer becomes, however the ERP wrote it."""

import json

import pytest

from connectors.answers import read_answer
from connectors.auth.fixed import fixed
from connectors.auth.login import login
from connectors.auth.oauth1 import Signature
from connectors.auth.oauth2 import token_endpoint
from connectors.auth.passes import Moment
from connectors.csrf import CsrfSession
from connectors.http_client import Received
from connectors.jsonrpc_login import odoo_login, tryton_login
from connectors.protocol import Answer, ConnectionSettings
from connectors.redaction import Redactor
from connectors.wsse import open_wsse

SECRET = "pä/s+w<rd&'1"
_UTF_16_XML = (
    f"<?xml version='1.0' encoding='utf-16'?><a>{SECRET.replace('&', '&amp;').replace('<', '&lt;')}</a>"
)


def _masked(content: bytes, content_type: str, secret: str = SECRET) -> Answer:
    answer = read_answer(400, [("content-type", content_type)], content, truncated=False)
    return Redactor([secret]).answer(answer)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (json.dumps({"said": SECRET}).replace("/", r"\/").encode(), "application/json"),
        (json.dumps({"said": SECRET}).encode("utf-16"), "application/json"),
        (json.dumps({SECRET: 1}).encode(), "application/json"),
        (rb'{"said": "p\u00E4\u002Fs\u002bw\u003Crd\u0026\u0027\u0031"}', "application/json"),
        (json.dumps({"inner": json.dumps({"a": SECRET})}).replace("/", r"\/").encode(), "application/json"),
        (SECRET.encode("latin-1"), "text/plain; charset=latin-1"),
        (_UTF_16_XML.encode("utf-16"), "application/xml"),
        (b"<p>p&auml;&#47;s+w&lt;rd&amp;&#039;1</p>", "text/html"),
        (b"about ?key=p%c3%a4%2fs%2bw%3crd%26'1 it was", "text/plain"),
        (b"about ?key=p%C3%A4/s%2Bw%3Crd%26%271", "text/plain"),
        (b"see /login?next=%2Fa%3Fkey%3Dp%25C3%25A4%252Fs%252Bw%253Crd%2526%25271", "text/plain"),
        (json.dumps(["x", SECRET]).replace("/", r"\/").encode()[:-2], "application/json"),
    ],
)
def test_an_echo_is_masked_in_whatever_spelling(content: bytes, content_type: str) -> None:
    shown = json.dumps(_masked(content, content_type).body, ensure_ascii=False)
    assert "***" in shown
    assert "s+w" not in shown
    assert "rd" not in shown.replace("</rd", "")


def test_an_echo_in_a_header_is_masked_though_headers_are_no_utf_8_to_us() -> None:
    answer = Answer(400, {"x-said": SECRET.encode().decode("latin-1"), "x-name": "Ñ"}, None)
    assert Redactor([SECRET]).answer(answer).headers == {"x-said": "***", "x-name": "Ñ"}


def test_a_secret_that_is_a_number_is_masked_and_the_rest_stays_readable() -> None:
    answer = _masked(b'{"pin": 20261126, "id": 120261126, "ok": true}', "application/json", "20261126")
    assert answer.body == {"pin": "***", "id": 120261126, "ok": True}


def test_what_one_holder_is_handed_out_pushes_nothing_of_another_out() -> None:
    redact = Redactor([])
    redact.hide(["access-token"])
    redact.hide([f"cookie-{number:04}" for number in range(1_000)], "kind")
    assert redact.text("access-token cookie-0999 cookie-0000") == "*** *** cookie-0000"


def test_what_holds_a_secret_does_not_show_it_when_it_is_printed() -> None:
    key = "correct-horse"
    client = {"token_url": "https://a.example/t", "client_id": "c", "client_secret": key}
    user = {"type": "login", "username": "u", "password": key}
    erp = ConnectionSettings("https://a.example", user, options={"database": "d"})
    session = login({"type": "session", "path": "/l", "query": {"k": key}, "body": {"p": key}}, erp.base_url)
    tokens = token_endpoint({"type": "oauth2_client_credentials", **client})
    holders = [
        session,
        tokens,
        odoo_login(erp, ""),
        tryton_login(erp, ""),
        *(each.request(Moment(0.0, key)) for each in (session, tokens, odoo_login(erp, ""))),
        open_wsse({"type": "wsse_username", "username": "u", "password": key}),
        Signature({"consumer_key": "c", "consumer_secret": key}),
        fixed({"type": "api_key", "query": "k", "key": key}),
        CsrfSession({"cookie": key}),
        Received(200, [("set-cookie", key)], key.encode(), complete=True),
        erp,
    ]
    assert [type(each).__name__ for each in holders if key in repr(each)] == []
