"""`bridge mapping` for a kind that a plug-in adds: its requests have a shape of their own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main
from bridge.cli.request_text import request_text
from tests.connectors.plug_in_packages import Packages, packages_in

GUIDE = (Path(__file__).parents[2] / "docs" / "connectors.md").read_text()
MAPPING = """
source: {table: public.work_orders, operations: [insert]}
connector: webdav
repeat: idempotency_key
request:
  folder: "/import/{{ params.folder | default('orders') }}"
  rows:
    - [order, cost]
    - ["{{ after.folio }}", "{{ after.cost }}"]
params: {folder: {}}
"""
CASES = """
cases:
  - name: a file
    event: {after: {id: 1, folio: OT-1, cost: 1273.10}}
    expect: {request: {folder: /import/orders, rows: [[order, cost], [OT-1, 1273.10]]}}
"""
EVENT = """{"id": "fracttal:0/16B3748:3", "op": "insert", "source": {"schema": "public", "table": "work_orders"},
 "key": {"id": 1}, "before": null, "after": {"id": 1, "folio": "OT;1", "cost": 1273.10}}"""


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Packages]:
    with packages_in(tmp_path) as found:
        found.add_example()
        yield found


@pytest.fixture
def mapping(tmp_path: Path, packages: Packages) -> Path:
    (tmp_path / "event.json").write_text(EVENT)
    (tmp_path / "order.cases.yaml").write_text(CASES)
    file = tmp_path / "order.yaml"
    file.write_text(MAPPING)
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["mapping", *map(str, arguments)])


def preview(mapping: Path, *options: str) -> Result:
    return run("preview", mapping, "--event", mapping.with_name("event.json"), *options)


def test_a_preview_shows_what_it_prepares(mapping: Path) -> None:
    shown = preview(mapping)
    assert shown.exit_code == 0
    kind, path, *file = shown.stdout.splitlines()
    assert kind == "webdav"
    assert path.startswith("path: /import/orders/")
    assert file == ["file:", "  order,cost", "  OT;1,1273.10"]
    as_json = json.loads(preview(mapping, "--json").stdout)
    assert set(as_json) == {"connector", "path", "file"}
    assert as_json["file"] == "order,cost\r\nOT;1,1273.10\r\n"


def test_the_preview_of_the_guide_is_what_is_shown(mapping: Path) -> None:
    [written] = re.findall(r"```yaml mapping\n(.*?)```", GUIDE, re.DOTALL)
    [shown] = re.findall(r"--event event.json\n(.*?)```", GUIDE, re.DOTALL)
    mapping.write_text(written)
    source = {"schema": "public", "table": "work_orders"}
    after = {"wo_folio": "OT-17", "parts": [{"code": "R-1", "qty": 2}]}
    event = {"id": "fracttal:0/16B3748:3", "op": "insert", "source": source, "before": None, "after": after}
    mapping.with_name("event.json").write_text(json.dumps(event))
    assert preview(mapping).stdout.replace("\r\n", "\n") == shown


def test_what_it_cannot_prepare_is_a_request_error(mapping: Path) -> None:
    mapping.write_text(MAPPING.replace('"{{ after.cost }}"', "{of: 1}"))
    failed = preview(mapping, "--json")
    assert failed.exit_code == 1
    error = json.loads(failed.stdout)["error"]
    assert error["class"] == "request"
    assert error["message"] == "request.rows holds dict, which no field of a CSV file can be"


def test_cases_compare_its_request(mapping: Path) -> None:
    assert run("check", mapping).exit_code == 0
    cases = mapping.with_name("order.cases.yaml")
    cases.write_text(CASES.replace("1273.10]]", "1273.2]]"))
    checked = run("check", mapping, "--json")
    assert checked.exit_code == 1
    [line] = [json.loads(each) for each in checked.stdout.splitlines()]
    assert line["message"].startswith("request.rows[1][1]: expected 1273.2, got 1273.10")


def test_without_its_package_the_connector_is_unknown(mapping: Path, packages: Packages) -> None:
    packages.remove()
    checked = run("check", mapping)
    assert checked.exit_code == 1
    assert "order.yaml:3:12: unknown connector 'webdav'" in checked.stdout
    assert preview(mapping).exit_code == 2


def test_a_broken_package_is_named(mapping: Path, packages: Packages) -> None:
    packages.remove()
    packages.add("acme-webdav", "webdav", "1 / 0")
    checked = run("check", mapping)
    assert checked.exit_code == 1
    assert "order.yaml:3:12: connector 'webdav' of the package acme-webdav 1.2" in checked.stdout


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ({"method": "PUT", "path": "/a", "query": {"b": ["1", "2"]}, "headers": {"X": "y"}, "body": {"n": 1}},
         ["PUT /a?b=1&b=2", "X: y", "", "{", '  "n": 1', "}"]),
        ({"method": "PUT", "path": "/a", "body": None, "operation": "Create"}, ["PUT /a", "operation: Create"]),
        ({"method": "PING", "path": "/rpc", "params": []}, ["kind", "method: PING", "path: /rpc", "params: []"]),
        ({"query": "mutation {\n  a\n}", "variables": {"n": 1}, "none": {}, "id": None},
         ["kind", "query:", "  mutation {", "    a", "  }", "variables:", "  {", '    "n": 1', "  }", "none: {}",
          "id: null"]),
    ],
)  # fmt: skip
def test_any_request_can_be_read(parts: dict[str, object], lines: list[str]) -> None:
    assert request_text({"connector": "kind", **parts}).splitlines() == lines
