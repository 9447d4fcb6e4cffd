"""The kind `webdav` passes the conformance suite, on a share that behaves as RFC 4918 says."""

import asyncio
import csv

import pytest

from bridge.conformance import CHECKS, PASSWORD, Check, Kind, Said
from bridge.demo.erp_server import Call, Effect, ErpServer, Reply


class Share(ErpServer):
    """One folder, /import/orders; whoever has the token may write files into it."""

    def __init__(self) -> None:
        super().__init__(f"Bearer {PASSWORD}")
        self.files: dict[str, str] = {}

    def handle(self, call: Call) -> Reply:
        folder, _, name = call.path.rpartition("/")
        if call.method != "PUT":
            return Reply(405)
        if folder != "/import/orders":
            return Reply(409, "the collection does not exist")  # 9.7.1
        if name in self.files and call.headers.get("if-none-match") == "*":
            return Reply(412)
        self.files[name] = call.body
        self.record("created", folder, name, call)
        return Reply(201)


def the_text(effect: Effect) -> str:
    _, row = csv.reader(effect.body.splitlines(keepends=True))
    return row[1]


csv.field_size_limit(2**26)  # of the check that sends 20 MB
WEBDAV = Kind(
    "webdav",
    Share,
    lambda text: {"folder": "/import/orders", "rows": [["id", "text"], [7, text]]},
    rejected=Said(Reply(403, "the quota\nis used up"), "403", "the quota is used up"),
    throttled=Said(Reply(429, None, {"Retry-After": "7"}), after=7.0),
    unavailable=Said(Reply(503, None, {"Retry-After": "9"}), after=9.0),
    read_back=the_text,
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_it_conforms(check: Check) -> None:
    asyncio.run(check(WEBDAV))
