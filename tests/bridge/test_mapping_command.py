import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main

MAPPING = """
source: {table: public.work_orders}
when: after.status == 3
params: {plant: {required: true}}
connector: rest
request:
  method: post
  path: "/orders/{{ key.id }}"
  query: {at: "{{ after.at | local }}", none: null}
  headers: {X-Route: "{{ route }}"}
  body: {cost: "{{ after.cost }}", code: "{{ after.code }}"}
"""
EVENT = """{"v": 1, "id": "fracttal:0/16B3748:3", "op": "insert", "tenant": "4711",
 "source": {"name": "fracttal", "db": "f", "schema": "public", "table": "work_orders"},
 "key": {"id": "1/2"}, "before": null,
 "after": {"id": 1, "status": 3, "cost": 1273.10, "code": "\\ud83d\\ude00", "at": "2026-11-24T03:00:00Z"}}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tenant = tmp_path / "tenants" / "acme"
    (tenant / "mappings").mkdir(parents=True)
    (tenant / "lookups").mkdir()
    (tenant / "tenant.yaml").write_text(
        'key: "4711"\ntimezone: America/Santiago\n'
        "connections: {erp: {connector: rest, base_url: https://erp.example}}\n"
        "routes: {orders: {mapping: order, connection: erp, params: {plant: CL01}}}\n"
    )
    (tenant / "mappings" / "order.yaml").write_text(MAPPING)
    (tmp_path / "event.json").write_text(EVENT)
    (tmp_path / "bridge.yaml").write_text(
        "sources: {fracttal: {dsn: postgresql://localhost/x, tenant_column: id_company, tables: {public.work_orders: {}}}}\n"
    )
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["mapping", *map(str, arguments)])


def order(folder: Path) -> Path:
    return folder / "tenants/acme/mappings/order.yaml"


def test_preview_shows_the_exact_request(folder: Path) -> None:
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 0
    assert '"cost":1273.10' in result.stdout
    shown = json.loads(result.stdout)
    assert (shown["connector"], shown["method"], shown["path"]) == ("rest", "POST", "/orders/1%2F2")
    assert shown["query"] == {"at": "2026-11-24T03:00:00+00:00"}
    assert shown["headers"]["X-Route"] == "preview"
    assert shown["headers"]["Idempotency-Key"] == "fracttal:0/16B3748:3/preview/preview"
    assert shown["body"] == {"cost": 1273.10, "code": "😀"}


def test_preview_of_a_route_has_its_params_time_zone_and_name(folder: Path) -> None:
    arguments = (
        "preview",
        "--route",
        "acme/orders",
        "--event",
        folder / "event.json",
        "--config",
        folder / "bridge.yaml",
    )
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["query"] == {"at": "2026-11-24T00:00:00-03:00"}
    assert shown["headers"]["Idempotency-Key"] == "fracttal:0/16B3748:3/acme/orders"
    text = run(*arguments)
    assert text.stdout.startswith("POST /orders/1%2F2?at=2026-11-24T00:00:00-03:00\n")
    assert '"cost": 1273.10' in text.stdout


def test_a_preview_needs_no_source(folder: Path) -> None:
    (folder / "bridge.yaml").write_text("sources: {fracttal: {dsn: '${NOT_SET_HERE}', tables: {}}}\n")
    arguments = ("--event", folder / "event.json", "--config", folder / "bridge.yaml")
    assert run("preview", "--route", "acme/orders", *arguments).exit_code == 0


@pytest.mark.parametrize(
    ("route", "says"), [("acme/order", "'orders'"), ("acmee/orders", "'acme'"), ("acme", "TENANT/ROUTE")]
)
def test_a_route_that_is_not_there_is_wrong_use(folder: Path, route: str, says: str) -> None:
    result = run(
        "preview", "--route", route, "--event", folder / "event.json", "--config", folder / "bridge.yaml"
    )
    assert result.exit_code == 2
    assert says in result.stderr


def test_preview_of_an_event_that_is_skipped(folder: Path) -> None:
    (folder / "event.json").write_text(EVENT.replace('"status": 3', '"status": 2'))
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"skipped": "when"})


def test_preview_of_an_event_that_cannot_be_rendered(folder: Path) -> None:
    (folder / "event.json").write_text(EVENT.replace('"cost"', '"costs"'))
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert set(error) == {"class", "message", "file", "line", "expression"}
    assert (error["class"], error["file"], error["line"]) == ("missing", str(order(folder)), 11)
    assert error["expression"] == "{{ after.cost }}"
    assert "did you mean 'costs'?" in error["message"]
    text = run("preview", order(folder), "--event", folder / "event.json")
    assert text.exit_code == 1
    assert f"{order(folder)}:11:16: after has no column 'cost'" in text.stderr


def test_preview_of_a_mapping_that_is_invalid(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace("key.id", "kye.id"))
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["line"], error["expression"]) == ("invalid", 8, "/orders/{{ kye.id }}")
    assert run("preview", order(folder), "--event", folder / "event.json").exit_code == 2


def test_preview_of_a_mapping_whose_base_is_not_there_is_told_as_json(folder: Path) -> None:
    order(folder).write_text(f"{MAPPING}extends: nosuch\n")
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["line"]) == ("invalid", 12)
    assert "there is no mapping 'nosuch'" in error["message"]


def test_preview_of_a_column_that_nobody_reads_names_file_line_and_expression(folder: Path) -> None:
    (folder / "event.json").write_text(
        EVENT.replace('"before": null', '"before": null, "unchanged": ["photo"]')
    )
    order(folder).write_text(MAPPING.replace("after.code", "after.photo"))
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["line"], error["expression"]) == (
        "unchanged_column",
        11,
        "{{ after.photo }}",
    )
    assert "columns: {photo: …}" in error["message"]


def test_preview_of_a_route_whose_mapping_is_invalid(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace("key.id", "kye.id"))
    arguments = ("--event", folder / "event.json", "--config", folder / "bridge.yaml", "--json")
    result = run("preview", "--route", "acme/orders", *arguments)
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["file"], error["line"]) == ("invalid", str(order(folder)), 8)


def test_preview_of_a_request_the_connector_cannot_send(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace('"/orders/{{ key.id }}"', '"{{ key.id }}"'))
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["class"] == "request"


@pytest.mark.parametrize("event", ["", "[]", "{}", '{"op": "insert"}', "{"])
def test_what_is_no_event_is_wrong_use(folder: Path, event: Any) -> None:
    (folder / "event.json").write_text(event)
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 2
    assert "event.json" in result.stderr


def test_check_takes_a_folder_as_the_guide_writes_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the directory that one stands in."""
    (folder / "tenants/acme/mappings/order.cases.yaml").write_text(
        "cases:\n  - {name: not yet, event: {after: {id: 1, status: 2}}, expect: {skipped: when}}\n"
    )
    monkeypatch.chdir(folder)
    for path in ("tenants/acme", "tenants/acme/mappings/order.yaml", "tenants/../tenants/acme"):
        result = run("check", path)
        assert result.exit_code == 0, result.output
        assert "1 mapping, 1 case: 0 errors, 1 warning" in result.stdout


def test_what_an_event_leaves_out_is_filled_in_as_in_a_case(folder: Path) -> None:
    order(folder).write_text(
        "source: {table: public.work_orders}\nparams: {plant: {}}\nconnector: rest\n"
        "request:\n  method: POST\n  path: '/{{ key.id }}'\n"
        "  body: ['{{ op }}', '{{ source.table }}', '{{ event.tenant }}', '{{ event.id }}']\n"
    )
    (folder / "event.json").write_text('{"before": {"id": 7}, "after": {"id": 7, "status": 3}}')
    arguments = ("--event", folder / "event.json", "--config", folder / "bridge.yaml", "--json")
    shown = json.loads(run("preview", "--route", "acme/orders", *arguments).stdout)
    assert shown["path"] == "/7"
    assert shown["body"] == ["update", "work_orders", "4711", "preview:0/1:1"]


def test_shipped_mappings_are_found_by_name(folder: Path) -> None:
    result = run("preview", "sap_s4hana/purchase_requisitions", "--event", folder / "event.json")
    assert result.exit_code == 2
    assert "did you mean 'sap_s4hana/purchase_requisition'?" in result.stderr
    assert (
        run("preview", "netsuite/vendor", "--event", folder / "event.json", "--json").stdout
        == '{"skipped":"source"}\n'
    )


def test_check_of_a_tenants_folder(folder: Path) -> None:
    result = run("check", folder / "tenants")
    assert result.exit_code == 0
    assert "has no cases" in result.stdout
    assert "nothing uses params.plant" in result.stdout


def test_check_runs_cases_with_the_tenants_lookups(folder: Path) -> None:
    tenant = folder / "tenants" / "acme"
    (tenant / "lookups" / "codes.csv").write_text("a,b\nX,0001\n")
    order(folder).write_text(MAPPING.replace("{{ after.code }}", "{{ after.code | lookup('codes') }}"))
    (tenant / "mappings" / "order.cases.yaml").write_text(
        "cases:\n  - name: x\n    event: {after: {id: 1, status: 3, cost: 1.50, code: X, at: '2026-11-24'}}\n"
        "    expect: {request: {method: post, path: /orders/1, query: {at: '2026-11-24'}, headers: {X-Route: case},"
        " body: {cost: 1.50, code: '0001'}}}\n"
    )
    result = run("check", tenant, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "ok"]
    (tenant / "lookups" / "codes.csv").write_text("a,b\nX,0002\n")
    result = run("check", tenant / "mappings" / "order.cases.yaml", "--json")
    assert result.exit_code == 1
    failed = json.loads(result.stdout.splitlines()[-1])
    assert failed["level"] == "error"
    assert failed["case"] == "x"
    assert failed["message"] == 'request.body.code: expected "0001", got "0002"'


def test_check_tells_what_complete_cases_would_not_notice(folder: Path) -> None:
    (folder / "tenants/acme/mappings/order.cases.yaml").write_text(
        "complete: true\ncases:\n  - name: x\n    event: {after: {id: 1, status: 3, cost: 1.50, code: X, at: '2026-11-24'}}\n"
        "    expect: {request: {method: post, path: /orders/1, query: {at: '2026-11-24'}, headers: {X-Route: case},"
        " body: {cost: 1.50, code: X}}}\n"
    )
    order(folder).write_text(MAPPING + "repeat: unsafe\n")
    result = run("check", folder / "tenants", "--json")
    assert result.exit_code == 1
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["line"], line["message"]) for line in told if line["level"] == "error"] == [
        (2, "source: no case notices when `operations` leaves none out"),
        (3, "when: no case notices when `when` is always true"),
        (9, "request.query.at: no case notices when `| local` is left out"),
        (9, "request.query.none: no case notices when `none` is left out"),
    ]


def test_a_shipped_mapping_without_cases_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.cli.mapping_check.shipped", lambda _name: folder)
    order(folder).rename(folder / "order.yaml")
    assert "has no cases" in (result := run("check", folder / "order.yaml")).stdout
    assert result.exit_code == 1


def test_check_shows_every_finding_of_every_file(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace("key.id", "kye.id").replace("after.cost", "aftr.cost"))
    (folder / "tenants/acme/mappings/other.yaml").write_text("a: &x 1\n")
    result = run("check", folder / "tenants", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(Path(line["file"]).name, line["line"]) for line in lines if line["level"] == "error"] == [
        ("order.yaml", 8),
        ("order.yaml", 11),
        ("other.yaml", 1),
    ]
    assert "3 errors" in result.stderr


def test_check_of_nothing_is_wrong_use(tmp_path: Any) -> None:
    assert run("check", tmp_path).exit_code == 2
    assert run("check", tmp_path / "nothing.yaml").exit_code == 2
    assert run("check").exit_code == 2


async def test_check_with_a_configuration_asks_whether_updates_tell_what_is_compared(
    folder: Path, database: str
) -> None:
    order(folder).write_text(MAPPING.replace("after.status == 3", "became('status', 3) or changed('nope')"))
    config = folder / "bridge.yaml"
    config.write_text(
        f"sources: {{fracttal: {{dsn: '{database}', tenant_column: t, tables: {{public.work_orders: {{}}}}}}}}\n"
    )

    async def checked(sql: str) -> Result:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(sql.encode())
        return await asyncio.to_thread(run, "check", order(folder), "--config", config)

    table = "CREATE TABLE work_orders (id int PRIMARY KEY, t int NOT NULL, status int NOT NULL)"
    found = await checked(table)
    assert found.exit_code == 1
    assert f"{order(folder)}: public.work_orders has no column 'nope' to compare" in found.stdout
    assert "ON public.work_orders (t, id, status);" in found.stdout
    await checked("CREATE UNIQUE INDEX told ON work_orders (t, id, status)")
    cured = await checked(
        "ALTER TABLE work_orders REPLICA IDENTITY USING INDEX told; ALTER TABLE work_orders ADD nope int"
    )
    assert "'status'" not in cured.stdout
    assert "'nope'" in cured.stdout
    full = await checked("ALTER TABLE work_orders REPLICA IDENTITY FULL")
    assert full.exit_code == 0, full.stdout


def test_check_says_when_the_source_cannot_be_asked(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace("after.status == 3", "became('status', 3)"))
    config = folder / "bridge.yaml"
    config.write_text(config.read_text().replace("localhost", "u:geheim@127.0.0.1:1"))
    result = run("check", order(folder), "--config", config)
    assert result.exit_code == 3
    assert "geheim" not in result.stderr
    assert "0 errors" in result.stdout


def test_check_with_a_configuration_tells_of_a_table_that_nobody_captures(folder: Path) -> None:
    order(folder).write_text(MAPPING.replace("public.work_orders", "public.work_order"))
    result = run("check", order(folder), "--config", folder / "bridge.yaml")
    assert result.exit_code == 0
    told = "no source of bridge.yaml captures public.work_order; did you mean 'public.work_orders'?"
    assert f"{order(folder)}: gets no events: {told}" in result.stdout
    order(folder).write_text(MAPPING.replace("public.work_orders", "intake.order"))
    assert "captures" not in run("check", order(folder), "--config", folder / "bridge.yaml").stdout


READING = """
source: {table: public.work_orders}
enrich:
  parts: {table: public.parts, where: {id_work_order: "{{ key.id }}"}, many: true, order_by: place}
  hidden: {table: public.parts, where: {secret: "x"}}
  other: {table: public.unlisted, where: {id: 1}}
connector: rest
request: {method: POST, path: /orders, body: {n: "{{ parts | length }}"}}
"""


async def test_check_with_a_configuration_asks_whether_enrich_can_read(folder: Path, database: str) -> None:
    order(folder).write_text(READING)
    config = folder / "bridge.yaml"
    tables = "{public.work_orders: {}, public.parts: {exclude: [secret]}}"
    config.write_text(
        f"sources: {{fracttal: {{dsn: '{database}', tenant_column: id_company, tables: {tables}}}}}\n"
    )
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE work_orders (id int PRIMARY KEY, id_company int);"
            "CREATE TABLE parts (id int PRIMARY KEY, id_company int, id_work_order int, secret text)"
        )
        result = await asyncio.to_thread(run, "check", order(folder), "--config", config, "--json")
        assert result.exit_code == 1, result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        errors = [(line["line"], line["message"]) for line in found if line["level"] == "error"]
        assert [line for line, _ in errors] == [4, 5, 6]
        assert "enrich.parts cannot be read: public.parts has no column 'place'" in errors[0][1]
        assert "excluded in bridge.yaml" in errors[1][1]
        assert "bridge.yaml lists" in errors[2][1]
        text = READING.replace("order_by: place", "order_by: id desc").replace("secret:", "id:")
        order(folder).write_text(text.replace("public.unlisted", "public.work_orders"))
        result = await asyncio.to_thread(run, "check", order(folder), "--config", config)
        assert result.exit_code == 0, result.output


def test_a_bomb_costs_preview_and_check_one_error(folder: Path) -> None:
    loops = (
        "{% for a in range(10000) %}{{ ('x' | center(999)) | regex_replace('[a-z ]', 'bbb') }}{% endfor %}"
    )
    written = MAPPING.replace("{{ after.code }}", loops)
    order(folder).write_text(written)
    result = run("preview", order(folder), "--event", folder / "event.json", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["line"]) == ("limit", 11)
    case = 'event: {after: {id: 1, status: 3, cost: 1, at: "2026-11-24"}}, expect: {skipped: when}'
    order(folder).with_name("order.cases.yaml").write_text(
        f"cases: [{{name: a, {case}}}, {{name: b, {case}}}]"
    )
    checked = run("check", order(folder))
    assert checked.exit_code == 1
    assert "more computing than one event may cost" in checked.output
