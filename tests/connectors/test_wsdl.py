"""How a WSDL is had, and what it cannot do: reach what its tenant must not, or cost more than it may."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from bridge.demo.erp_server import Call, ErpServer, Reply, Step
from connectors import registry, wsdl_documents, wsdl_trial
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Delivered, Outcome, Rejected, Unavailable
from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, file_content, file_url
from connectors.wsdl_trial import try_out
from tests.connectors.wsdl_texts import wsdl

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
EMPTY = wsdl("<xs:sequence/>")
PLAIN = wsdl('<xs:sequence><xs:element name="a" type="xs:int"/></xs:sequence>')
ANSWER = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<Done xmlns="urn:test"/></s:Body></s:Envelope>'
)


class Files(ErpServer):
    """GET gives a file, POST an empty SOAP answer."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Reply | str] = {"/x.wsdl": PLAIN}

    def handle(self, call: Call) -> Reply:
        if call.method == "POST":
            return Reply(200, ANSWER, {"Content-Type": "text/xml"})
        found = self.files.get(call.path, Reply(404, "nothing here"))
        return found if isinstance(found, Reply) else Reply(200, found, {"Content-Type": "text/xml"})


@pytest.fixture(autouse=True)
def untried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process costs half a second: only who tests what it is there for starts it."""
    if "tried" not in request.fixturenames:
        monkeypatch.setattr("connectors.wsdl_loading.try_out", lambda _documents: None)


@pytest.fixture
def tried() -> None:
    """As in production."""


@pytest.fixture
async def server() -> AsyncIterator[Files]:
    async with Files() as files:
        yield files


def connector(server: Files, url: str = "/x.wsdl", **settings: Any) -> Connector:
    options = {"wsdl": server.base_url + url if url.startswith("/") else url, **settings.pop("options", {})}
    given: Mapping[str, Any] = {"egress": LOOPBACK, "timeout_s": 5.0, **settings}
    return registry.open_connector(
        "soap", ConnectionSettings(f"{server.base_url}/soap", options=options, **given)
    )


async def send(one: Connector, arguments: Any = None) -> Outcome:
    try:
        return await one.send(one.prepare({"operation": "Do", "arguments": arguments or {"a": 1}}, "k"))
    finally:
        await one.aclose()


async def refused(server: Files, url: str = "/x.wsdl", **settings: Any) -> Unavailable:
    outcome = await send(connector(server, url, **settings))
    assert isinstance(outcome, Unavailable), outcome
    assert [call.method for call in server.calls if call.method != "GET"] == []
    return outcome


@pytest.mark.usefixtures("tried")
async def test_the_configured_endpoint_wins_over_the_wsdls(server: Files) -> None:
    assert "169.254.169.254" in PLAIN
    assert isinstance(await send(connector(server, options={"query": {"sap-client": "100"}})), Delivered)
    assert [(call.method, call.path, call.query) for call in server.calls] == [
        ("GET", "/x.wsdl", ""),
        ("POST", "/soap", "sap-client=100"),
    ]


async def test_it_is_loaded_once_however_many_wait_for_it(server: Files) -> None:
    one = connector(server, concurrency=4)
    prepared = one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")
    outcomes = await asyncio.gather(*(one.send(prepared) for _ in range(8)))
    await one.aclose()
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert len([call for call in server.calls if call.method == "GET"]) == 1


async def test_who_waits_for_one_that_fails_does_not_wait_for_another(server: Files) -> None:
    server.files["/x.wsdl"] = Reply(503, "later")
    one = connector(server, concurrency=4)
    prepared = one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")
    outcomes = await asyncio.gather(*(one.send(prepared) for _ in range(8)))
    await one.aclose()
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert len(server.calls) == 1


async def test_a_failure_is_not_kept(server: Files) -> None:
    server.files["/x.wsdl"] = Reply(503, "later")
    one = connector(server)
    prepared = one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")
    first = await one.send(prepared)
    assert isinstance(first, Unavailable)
    assert first.message.endswith("/x.wsdl: HTTP 503; nothing was sent")
    server.files["/x.wsdl"] = PLAIN
    assert isinstance(await one.send(prepared), Delivered)
    await one.aclose()


async def test_the_loop_goes_on_while_it_is_read(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(_documents: object) -> None:
        reading.set()
        assert go_on.wait(10)

    monkeypatch.setattr("connectors.wsdl_loading.try_out", slowly)
    server.files["/x.wsdl"] = PLAIN.replace('name="S"', 'name="Slow"')
    sending = asyncio.create_task(send(connector(server)))
    assert await asyncio.to_thread(reading.wait, 10)
    go_on.set()
    assert isinstance(await sending, Delivered)


async def test_who_gave_up_finds_it_read_when_coming_again(
    server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), []

    def slowly(_documents: object) -> None:
        begun.append(1)
        assert go_on.wait(10)

    monkeypatch.setattr("connectors.wsdl_loading.try_out", slowly)
    files = {"wsdl/x.wsdl": PLAIN.replace('name="S"', 'name="Slower"')}
    one = connector(server, "wsdl/x.wsdl", files=files, timeout_s=0.05)
    prepared = one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")
    first = await one.send(prepared)
    assert isinstance(first, Unavailable)
    assert first.code == "timeout"
    assert "wsdl/x.wsdl was not read within 0.2 s" in first.message
    go_on.set()
    await one.aclose()
    assert isinstance(await send(connector(server, "wsdl/x.wsdl", files=files)), Delivered)
    assert begun == [1]


async def test_what_it_imports_comes_the_same_way(server: Files) -> None:
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" {}>{}</xs:schema>'
    server.files["/x.wsdl"] = wsdl(
        '<xs:sequence><xs:element name="a" type="o:Sum" xmlns:o="urn:other"/></xs:sequence>',
        '<xs:import namespace="urn:other" schemaLocation="parts/other.xsd"/>',
    )
    server.files["/parts/other.xsd"] = schema.format(
        'targetNamespace="urn:other"', '<xs:include schemaLocation="../sum.xsd#x"/>'
    )
    server.files["/sum.xsd"] = schema.format(
        'targetNamespace="urn:other"',
        '<xs:import namespace="http://schemas.xmlsoap.org/soap/encoding/" schemaLocation="http://schemas.xmlsoap.org/soap/encoding/"/>'
        '<xs:simpleType name="Sum"><xs:restriction base="xs:int"/></xs:simpleType>',
    )
    one = connector(server)
    assert isinstance(await one.send(one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")), Delivered)
    wrong = await one.send(one.prepare({"operation": "Do", "arguments": {"a": "x"}}, "k"))
    await one.aclose()
    assert isinstance(wrong, Rejected)
    assert wrong.code == "wsdl"


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "//["]
)
async def test_only_http_is_read(server: Files, location: str) -> None:
    server.files["/x.wsdl"] = wsdl(
        "<xs:sequence/>", f'<xs:import namespace="urn:o" schemaLocation="{location}"/>'
    )
    assert f"imports '{location}'" in (await refused(server)).message


@pytest.mark.parametrize(
    ("url", "policy", "code"),
    [
        ("/x.wsdl", EgressPolicy(), "egress"),
        ("http://169.254.169.254/latest/meta-data", LOOPBACK, "egress"),
        ("http://127.0.0.1:1/x.wsdl", LOOPBACK, "refused"),
    ],
)
async def test_the_egress_guard_is_asked(server: Files, url: str, policy: EgressPolicy, code: str) -> None:
    assert (await refused(server, url, egress=policy)).code == code


async def test_the_egress_guard_is_asked_of_imports_too(server: Files) -> None:
    server.files["/x.wsdl"] = wsdl(
        "<xs:sequence/>", '<xs:import namespace="urn:o" schemaLocation="http://169.254.169.254/x.xsd"/>'
    )
    outcome = await refused(server)
    assert outcome.code == "egress"
    assert "169.254.169.254 is not a public address" in outcome.message


async def test_a_redirect_is_not_followed(server: Files) -> None:
    server.files["/moved.wsdl"] = Reply(302, None, {"Location": "/x.wsdl"})
    assert "HTTP 302 (redirects are not followed)" in (await refused(server, "/moved.wsdl")).message


async def test_that_nothing_was_sent_is_said_once(server: Files) -> None:
    message = (await refused(server, "http://127.0.0.1:1/x.wsdl")).message
    assert "http://127.0.0.1:1/x.wsdl: " in message
    assert message.count("nothing was sent") == 1


BASIC = {"type": "basic", "username": "u", "password": "secret-password"}


@pytest.mark.parametrize(
    ("url", "auth", "says"),
    [
        ("/x.wsdl", BASIC, "HTTP 401 (the connection's auth does not open it)"),
        ("/x.wsdl", {}, "HTTP 401 (it was asked for without credentials)"),
        ("/x.wsdl", {"type": "session", "path": "/login"}, "HTTP 401 (it was asked for without credentials)"),
    ],
)
async def test_a_wsdl_that_wants_credentials_says_whether_it_got_any(
    server: Files, url: str, auth: Any, says: str
) -> None:
    server.files[url] = Reply(401)
    outcome = await refused(server, url, auth=auth)
    assert outcome.code == "authentication"
    assert says in outcome.message


async def test_credentials_go_to_the_endpoints_origin_alone(server: Files) -> None:
    async with Files() as other:
        other.files["/o.xsd"] = (
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:o"/>'
        )
        location = f"{other.base_url}/o.xsd"
        server.files["/x.wsdl"] = wsdl(
            "<xs:sequence/>", f'<xs:import namespace="urn:o" schemaLocation="{location}"/>'
        )
        auth = {"type": "basic", "username": "u", "password": "secret-password"}
        one = connector(server, auth=auth)
        assert isinstance(await one.send(one.prepare({"operation": "Do"}, "k")), Delivered)
        await one.aclose()
        assert all("authorization" in call.headers for call in server.calls)
        assert [call.headers.get("authorization") for call in other.calls] == [None]


@pytest.mark.parametrize(("url", "logins"), [("/soap?wsdl", 1), ("/soap/x.wsdl", 1), ("/x.wsdl", 1)])
async def test_a_login_is_made_once_and_below_base_url_the_wsdl_is_fetched_with_it(
    server: Files, url: str, logins: int
) -> None:
    server.files |= {"/soap": PLAIN, "/soap/x.wsdl": PLAIN}
    server.files["/soap/login"] = Reply(200, {"token": "t-1234567"})
    auth = {"type": "session", "path": "/login", "method": "GET", "token": "token", "cookies": False}
    assert isinstance(await send(connector(server, url, auth=auth)), Delivered)
    paths = [call.path for call in server.calls]
    assert paths.count("/soap/login") == logins
    carried = {call.path: call.headers.get("authorization") for call in server.calls}
    assert (carried[url.partition("?")[0]] is not None) == url.startswith("/soap")


BOMB = "<!DOCTYPE x [<!ENTITY a '{}'>{}]>".format(
    "ha" * 10, "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10 if n else '&a;' * 10}'>" for n in range(10))
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB + EMPTY.partition("?>")[2], "has a DTD, which is not read"),
        (
            '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + EMPTY.partition("?>")[2],
            "has a DTD, which is not read",
        ),
        ("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", "has a DTD, which is not read"),
        ("<a>" * 5_000, "is no XML"),
        ("Not found", "is no XML"),
        ("", "is no XML"),
        ("<html/>", "it has no service with a port that speaks SOAP over HTTP"),
        (EMPTY.replace("soap/http", "soap/smtp"), "it has no service with a port that speaks SOAP over HTTP"),
        (EMPTY.replace('type="t:T"', 'type="t:Nobody"'), "is not understood"),
        (EMPTY.replace("t:B", "t:Nobody"), "it has no service with a port that speaks SOAP over HTTP"),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_says_why(server: Files, text: str, says: str) -> None:
    server.files["/x.wsdl"] = text
    outcome = await refused(server)
    assert outcome.code == "wsdl"
    assert says in outcome.message


async def test_what_was_refused_is_not_tried_with_every_probe(
    server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(_documents: object) -> None:
        tried.append(1)
        raise WsdlInvalid("it takes too long")

    monkeypatch.setattr("connectors.wsdl_loading.try_out", refuse)
    for _ in range(2):
        assert "it takes too long" in (await refused(server)).message
    assert len(tried) == 1
    monkeypatch.setattr("connectors.wsdl_loading.AGAIN_S", 0.0)
    await refused(server)
    assert len(tried) == 2
    monkeypatch.setattr("connectors.wsdl_loading.try_out", lambda _documents: None)
    assert isinstance(await send(connector(server)), Delivered)


async def test_imports_without_end_have_one(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsdl_documents, "MOST", 5)
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:o">{}</xs:schema>'
    for n in range(10):
        server.files[f"/{n}.xsd"] = schema.format(f'<xs:include schemaLocation="{n + 1}.xsd"/>')
    server.files["/x.wsdl"] = wsdl("<xs:sequence/>", '<xs:import namespace="urn:o" schemaLocation="0.xsd"/>')
    assert "is made of more than 5 documents" in (await refused(server)).message
    assert len(server.calls) == 5


async def test_documents_together_have_a_limit(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsdl_documents, "LARGEST", 1_000)
    assert "more than 1000 bytes together" in (await refused(server)).message


async def test_one_document_is_read_to_its_limit_only(server: Files) -> None:
    server.files["/x.wsdl"] = "<x>" + "x" * 2_000_000 + "</x>"
    assert "save it, and what it imports, in the tenant's folder wsdl" in (await refused(server)).message


@pytest.mark.usefixtures("tried")
async def test_groups_of_groups_are_not_unfolded(server: Files) -> None:
    def group(n: int) -> str:
        inner = f'<xs:group ref="t:g{n - 1}"/>' * 8 if n else '<xs:element name="a" type="xs:int"/>' * 8
        return f'<xs:group name="g{n}"><xs:sequence>{inner}</xs:sequence></xs:group>'

    groups = "".join(group(n) for n in range(12))
    server.files["/x.wsdl"] = wsdl('<xs:group ref="t:g11"/>', groups)
    assert "unfolds into more than 300000 elements" in (await refused(server)).message


def test_what_takes_too_long_or_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = WsdlDocuments(file_url("wsdl/x.wsdl"))
    documents.add(file_content(PLAIN))
    try_out(documents)
    monkeypatch.setattr(wsdl_trial, "LIMITS", replace(wsdl_trial.LIMITS, memory=32 << 20))
    with pytest.raises(WsdlInvalid, match=r"wsdl/x\.wsdl takes more than .* 32 MB of memory to read"):
        try_out(documents)
    monkeypatch.setattr(wsdl_trial, "LIMITS", replace(wsdl_trial.LIMITS, wall_s=0.01))
    with pytest.raises(WsdlInvalid, match=r"takes longer than 0\.01 s to read"):
        try_out(documents)


async def test_circles_of_imports_are_walked_once(server: Files) -> None:
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:{}">{}</xs:schema>'
    server.files["/a.xsd"] = schema.format("a", '<xs:import namespace="urn:b" schemaLocation="b.xsd"/>')
    server.files["/b.xsd"] = schema.format("b", '<xs:import namespace="urn:a" schemaLocation="a.xsd"/>')
    server.files["/x.wsdl"] = wsdl("<xs:sequence/>", '<xs:import namespace="urn:a" schemaLocation="a.xsd"/>')
    one = connector(server)
    assert isinstance(await one.send(one.prepare({"operation": "Do"}, "k")), Delivered)
    await one.aclose()
    assert len(server.calls) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"service": "X"}, "it has no service 'X'; there is S"),
        ({"port": "Q"}, "it has no port 'Q'; there is P"),
    ],
)
async def test_a_service_or_port_that_is_not_there(server: Files, options: Any, says: str) -> None:
    assert says in (await refused(server, options=options)).message


async def test_files_of_the_tenant_are_read_from_its_version(server: Files) -> None:
    files = {"wsdl/x.wsdl": PLAIN}
    assert isinstance(await send(connector(server, "wsdl/x.wsdl", files=files)), Delivered)
    assert [call.method for call in server.calls] == ["POST"]
    server.calls.clear()
    outcome = await refused(server, "wsdl/y.wsdl", files=files)
    assert "wsdl/y.wsdl is not among the tenant's files; apply the tenant again" in outcome.message


async def test_cancelled_while_it_loads(server: Files) -> None:
    gate = asyncio.Event()
    server.script([Step(hold=gate)])
    one = connector(server)
    prepared = one.prepare({"operation": "Do", "arguments": {"a": 1}}, "k")
    sending = asyncio.create_task(one.send(prepared))
    await server.until(lambda: len(server.calls) == 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    gate.set()
    assert isinstance(await one.send(prepared), Delivered)
    await one.aclose()
