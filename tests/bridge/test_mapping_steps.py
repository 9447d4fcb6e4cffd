"""`bridge mapping` of mappings that extend others, read rows and have steps."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main

MAPPING = """
extends: generic_rest/work_order
request: {$remove: true}
enrich: {asset: {table: public.assets, where: {id: "{{ after.id_asset }}"}}}
steps:
  find: {reads: true, request: {method: GET, path: "/assets/{{ asset.code }}"}}
  put: {request: {method: PUT, path: "/orders/{{ steps.find.body.id }}", body: {v: "{{ wait_for('vendors', 5, 'id') }}"}}}
response: {save: {order: "{{ body.id }}"}}
"""
EVENT = {
    "id": "f:0/1:1", "op": "insert", "tenant": "1", "source": {"schema": "public", "table": "work_orders"},
    "key": {"id": 1}, "before": None, "after": {"id": 1, "id_asset": 3},
}  # fmt: skip
GIVEN = """
enrich: {asset: {id: 3, code: A/1}}
saved: [{route: vendors, key: 5, values: {id: V1}}]
answers: {find: {status: 200, body: {id: X}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "order.yaml").write_text(MAPPING)
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    (tmp_path / "given.yaml").write_text(GIVEN)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["mapping", *map(str, arguments)])


def preview(folder: Path, *more: str | Path) -> Result:
    return run("preview", folder / "order.yaml", "--event", folder / "event.json", *more)


def test_preview_shows_each_step_as_far_as_answers_are_given(folder: Path) -> None:
    result = preview(folder, "--given", folder / "given.yaml", "--json")
    assert result.exit_code == 0, result.output
    find, put = json.loads(result.stdout)["steps"]
    assert (find["step"], find["method"], find["path"]) == ("find", "GET", "/assets/A%2F1")
    assert find["headers"]["Idempotency-Key"] == "f:0/1:1/preview/preview/find"
    assert (put["step"], put["path"], put["body"]) == ("put", "/orders/X", {"v": "V1"})
    shown = preview(folder, "--given", folder / "given.yaml").stdout
    assert shown.index("find:\nGET /assets/A%2F1") < shown.index("put:\nPUT /orders/X")


def test_preview_shows_what_is_saved_at_the_end(folder: Path) -> None:
    given = GIVEN.replace("{find:", "{put: {status: 200, body: {id: 7}}, find:")
    (folder / "given.yaml").write_text(given)
    result = json.loads(preview(folder, "--given", folder / "given.yaml", "--json").stdout)
    assert (len(result["steps"]), result["save"]) == (2, {"order": 7})


@pytest.mark.parametrize(
    ("left_out", "class_", "says"),
    [
        ("enrich: {asset: {id: 3, code: A/1}}", "needs", "reads public.assets where id = 3; write enrich: {asset: {…}}"),
        ("saved: [{route: vendors, key: 5, values: {id: V1}}]", "wait_for", "has saved no 'id'"),
    ],
)  # fmt: skip
def test_preview_says_what_is_not_given(folder: Path, left_out: str, class_: str, says: str) -> None:
    (folder / "given.yaml").write_text(GIVEN.replace(left_out, ""))
    result = preview(folder, "--given", folder / "given.yaml", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["class"] == class_
    assert says in error["message"]
    assert error["file"].endswith("order.yaml")


def test_what_is_given_is_checked(folder: Path) -> None:
    (folder / "given.yaml").write_text("enrch: {}")
    result = preview(folder, "--given", folder / "given.yaml")
    assert result.exit_code == 2
    assert "did you mean 'enrich'?" in result.output


def test_check_runs_cases_of_steps(folder: Path) -> None:
    cases = f"""
cases:
  - name: both
    event: {{after: {{id: 1, id_asset: 3}}}}
{"".join(f"    {line}" + chr(10) for line in GIVEN.strip().splitlines())}
    expect:
      reads: {{asset: {{id: 3}}}}
      requests:
        find: {{method: GET, path: /assets/A%2F1}}
        put: {{method: PUT, path: /orders/X, body: {{v: V1}}}}
"""
    (folder / "order.cases.yaml").write_text(cases)
    result = run("check", folder / "order.yaml")
    assert result.exit_code == 0, result.output
    (folder / "order.cases.yaml").write_text(cases.replace("path: /orders/X", "path: /orders/Y"))
    result = run("check", folder / "order.yaml")
    assert result.exit_code == 1
    assert 'requests.put.path: expected "/orders/Y", got "/orders/X"' in result.output


def test_check_names_the_file_of_a_base(folder: Path) -> None:
    (folder / "order.yaml").write_text("extends: generic_rest/nope")
    result = run("check", folder / "order.yaml")
    assert result.exit_code == 1
    assert "order.yaml:1:10: extends: there is no mapping 'generic_rest/nope'" in result.output
