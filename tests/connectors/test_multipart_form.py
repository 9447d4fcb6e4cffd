"""Forms with files, read back by a parser that is not ours."""

import base64
from collections.abc import AsyncIterator
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import BodyPartReader, web

from connectors import registry
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Delivered, Prepared, RequestInvalid

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
KEY = "fracttal:0/16B3748:3/acme/work-orders"
PHOTO = bytes(range(256)) * 40


def prepare(tree: Any, key: str = KEY, **headers: str) -> Prepared:
    request = {"method": "POST", "path": "/files", "headers": headers, "multipart": tree}
    return registry.prepare("rest", request, key)


class Files:
    """A server that keeps what it is sent, as aiohttp reads it."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | None, str | None, bytes]] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = await part.read()
            self.parts.append(
                (part.name or "", part.filename, part.headers.get("Content-Type"), bytes(content))
            )
        return web.Response(text="{}")


@pytest.fixture
async def files() -> AsyncIterator[tuple[Files, str]]:
    kept = Files()
    runner = web.ServerRunner(web.Server(kept.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield kept, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_fields_and_files_arrive_as_they_are(files: tuple[Files, str]) -> None:
    kept, url = files
    tree = {
        "note": 'Argolla de 5/8" ñ 🔩\r\n--',
        "cost": Decimal("1273.10"),
        "urgent": True,
        "nothing": None,
        "order": {"json": {"id": 7, "cost": Decimal("1.50"), "none": None}},
        "photo": {"filename": "bomba.jpg", "content_type": "image/jpeg", "base64": base64.b64encode(PHOTO).decode()},
        "missing": {"filename": "x.pdf", "base64": None},
        "log": [{"filename": "a.txt", "text": "ä"}, {"filename": "b.txt", "text": ""}],
        "raw": {"base64": "AA\nEC"},
    }  # fmt: skip
    connector = registry.open_connector("rest", ConnectionSettings(url, egress=LOOPBACK))
    outcome = await connector.send(connector.prepare({"method": "POST", "path": "/", "multipart": tree}, KEY))
    await connector.aclose()
    assert isinstance(outcome, Delivered)
    assert kept.parts == [
        ("note", None, None, 'Argolla de 5/8" ñ 🔩\r\n--'.encode()),
        ("cost", None, None, b"1273.10"),
        ("urgent", None, None, b"true"),
        ("order", None, "application/json", b'{"id":7,"cost":1.50,"none":null}'),
        ("photo", "bomba.jpg", "image/jpeg", PHOTO),
        ("log", "a.txt", "text/plain; charset=utf-8", "ä".encode()),
        ("log", "b.txt", "text/plain; charset=utf-8", b""),
        ("raw", None, "application/octet-stream", b"\0\1\2"),
    ]


def test_no_name_ends_its_quotes_or_its_line() -> None:
    prepared = prepare({'a"b\r\nc': {"filename": 'x"\r\nX-Evil: 1\\é.txt', "text": "t"}})
    head = prepared.content.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    assert head == [
        'Content-Disposition: form-data; name="a%22b%0D%0Ac"; filename="x%22%0D%0AX-Evil: 1\\é.txt"'.encode(),
        b"Content-Type: text/plain; charset=utf-8",
    ]


def test_the_boundary_is_the_delivery_s_and_stands_in_no_part() -> None:
    first, again, other = prepare({"a": "1"}), prepare({"a": "1"}), prepare({"a": "1"}, "another")
    assert first == again
    assert first.parts["headers"] != other.parts["headers"]
    boundary = first.parts["headers"]["Content-Type"].partition("boundary=")[2]
    hostile = prepare({"a": f"\r\n--{boundary}--\r\n"})
    changed = hostile.parts["headers"]["Content-Type"].partition("boundary=")[2]
    assert changed != boundary
    assert changed.encode() in hostile.content


def test_a_preview_shows_the_parts() -> None:
    shown = prepare({"n": 1, "f": {"filename": "a.bin", "base64": "AAEC"}}).to_json()
    assert shown["body"] == [
        {"name": "n", "text": "1"},
        {"name": "f", "filename": "a.bin", "content_type": "application/octet-stream", "base64": "AAEC"},
    ]


def test_another_multipart_type_gets_its_boundary() -> None:
    headers = prepare({"a": "1"}, **{"content-type": "multipart/related"}).parts["headers"]
    assert headers["Content-Type"].startswith("multipart/related; boundary=form_")
    assert "content-type" not in headers


@pytest.mark.parametrize(
    "tree",
    [
        "text",
        None,
        {},
        {"a": None},
        {"a": {}},
        {"a": {"filename": "x"}},
        {"a": {"text": "1", "base64": "AA=="}},
        {"a": {"text": "1", "name": "b"}},
        {"a": {"text": ["1"]}},
        {"a": {"base64": "no base64!"}},
        {"a": {"base64": "AAE"}},
        {"a": {"text": "1", "content_type": "text/plain\r\nX: 1"}},
        {"a": {"text": "1", "content_type": "text"}},
        {"a": {"text": "1", "filename": {}}},
        {"a": "\ud800"},
        {"\ud800": "a"},
        {"a": {"json": 2j}},
    ],
    ids=repr,
)
def test_what_is_no_form_is_refused(tree: Any) -> None:
    with pytest.raises(RequestInvalid, match=r"^request\."):
        prepare(tree)


def test_a_form_has_no_other_type() -> None:
    with pytest.raises(RequestInvalid, match="Content-Type of multipart"):
        prepare({"a": "1"}, **{"Content-Type": "application/json"})
