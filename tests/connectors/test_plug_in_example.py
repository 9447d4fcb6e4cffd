"""The kind that docs/connectors.md shows: what the page prints is what is run, and it conforms."""

import re
from collections.abc import Iterator
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from bridge.conformance import CHECKS, Check
from connectors import registry
from connectors.protocol import RequestInvalid
from tests.connectors.plug_in_packages import EXAMPLE, packages_in

GUIDE = (EXAMPLE.parents[1] / "connectors.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with packages_in(tmp_path_factory.mktemp("packages")) as packages:
        packages.add_example()
        yield


@pytest.fixture(scope="module")
def its_tests() -> Any:
    spec = spec_from_file_location("test_bridge_webdav", EXAMPLE / "test_bridge_webdav.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_it_conforms(its_tests: Any, check: Check) -> None:
    await check(its_tests.WEBDAV)


@pytest.mark.parametrize("name", ["bridge_webdav.py", "test_bridge_webdav.py", "pyproject.toml"])
def test_the_guide_shows_what_is_run(name: str) -> None:
    assert (EXAMPLE / name).read_text() in re.findall(r"```[a-z]+\n(.*?)```", GUIDE, re.DOTALL)


def test_its_file_is_a_csv_file_named_by_the_delivery() -> None:
    rows = [["order", None, True], ["OT;17", Decimal("1.10"), 'a "b", c'], [Decimal("1E+3"), 7, "\n"]]
    prepared = registry.prepare("webdav", {"folder": "/in/", "rows": rows}, "shop:0/1:1/acme/orders")
    assert prepared.content == b'order,,true\r\nOT;17,1.10,"a ""b"", c"\r\n1000,7,"\n"\r\n'
    assert re.fullmatch(r"/in/[0-9a-f]{32}\.csv", prepared.parts["path"])
    other = registry.prepare("webdav", {"folder": "/in/", "rows": rows}, "shop:0/2:1/acme/orders")
    assert other.parts["path"] != prepared.parts["path"]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"folder": "/in"}, "request.rows must be a list of lists"),
        ({"folder": "/in", "rows": ["a"]}, "request.rows must be a list of lists"),
        ({"folder": "/in", "rows": [[{}]]}, "request.rows holds dict"),
        ({"folder": "in", "rows": []}, "request.path must be a text that begins with /"),
    ],
)
def test_what_is_no_csv_file_is_refused(request_: dict[str, Any], why: str) -> None:
    with pytest.raises(RequestInvalid, match=re.escape(why)):
        registry.prepare("webdav", request_, "key")
