"""`bridge tenant` on a real server: what an operator types, reads, and gets as exit code."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import main
from bridge.demo.nats_server import EmbeddedNats

TENANT = """\
key: "4711"
connections:
  sap: {connector: rest, base_url: https://sap.example}
routes:
  orders: {mapping: order, connection: sap}
"""
MAPPING = "source: {table: public.work_orders}\nconnector: rest\nrequest: {method: POST, path: /orders}\n"

Bridge = Callable[..., Result]


@pytest.fixture
def bridge(
    tmp_path: Path, nats_server: EmbeddedNats, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Bridge:
    """`bridge("tenant", "list")` beside a bridge.yaml and the tenants folder of acme."""
    monkeypatch.chdir(tmp_path)
    sizes = ", ".join(
        f"{stream}: {{max_bytes: 64MB}}" for stream in ("events", "deliveries", "attempts", "dlq")
    )
    (tmp_path / "bridge.yaml").write_text(
        f"nats: {{servers: ['{nats_server.url}'], namespace: {namespace}, sync_interval: 2m}}\n"
        f"streams: {{{sizes}}}\n"
    )
    tenant(tmp_path, "acme", TENANT)

    def call(*words: str) -> Result:
        done = CliRunner().invoke(main, words)
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done

    return call


def tenant(folder: Path, name: str, text: str) -> None:
    """Writes a tenant's folder."""
    (folder / f"tenants/{name}/mappings").mkdir(parents=True, exist_ok=True)
    (folder / f"tenants/{name}/tenant.yaml").write_text(text)
    (folder / f"tenants/{name}/mappings/order.yaml").write_text(MAPPING)


def test_a_pause_is_shown_until_it_ends(bridge: Bridge) -> None:
    bridge("tenant", "apply")
    paused = bridge("tenant", "pause", "acme/orders", "--why", "their server moves")
    assert paused.exit_code == 0
    assert paused.stdout.startswith("acme: route orders is paused since 20")
    assert paused.stdout.endswith(": their server moves\n")
    again = bridge("tenant", "pause", "key:4711/orders")
    assert again.exit_code == 0
    assert again.stdout.endswith(": their server moves; nothing was changed\n")
    assert "    route orders is paused since 20" in bridge("tenant", "list").stdout
    assert bridge("tenant", "pause", "acme", "--connection", "sap").exit_code == 0
    (pauses,) = [
        json.loads(line)["pauses"] for line in bridge("tenant", "list", "--json").stdout.splitlines()
    ]
    assert [(one["route"], one["connection"], one["why"]) for one in pauses] == [
        ("orders", None, "their server moves"),
        (None, "sap", ""),
    ]
    ended = bridge("tenant", "resume", "acme/orders").stdout.splitlines()
    assert ended[0] == "acme: route orders goes on"
    assert ended[1].startswith("    but connection sap is paused since")
    last = json.loads(bridge("tenant", "resume", "acme", "--connection", "sap", "--json").stdout)
    assert last == {"tenant": "acme", "route": None, "connection": "sap", "changed": True, "pauses": []}
    assert bridge("tenant", "resume", "acme").stdout == "acme: the tenant was not paused\n"
    assert "paused" not in bridge("tenant", "list").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("globex",), "no tenant 'globex' is in force"),
        (("acme/order",), "tenant acme has no route 'order' in force; did you mean"),
        (("acme", "--connection", "sat"), "tenant acme has no connection 'sat' in force; did you mean"),
        (("acme/orders", "--connection", "sap"), "name a route or a connection, not both"),
        (("key:1/orders",), "no tenant in force has the key '1'"),
    ],
)
def test_what_is_not_there_cannot_be_paused(bridge: Bridge, words: tuple[str, ...], expected: str) -> None:
    bridge("tenant", "apply")
    for command in ("pause", "resume"):
        done = bridge("tenant", command, *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert expected in done.stderr


def test_what_is_paused_can_be_resumed_although_no_version_has_it_any_more(
    bridge: Bridge, tmp_path: Path
) -> None:
    bridge("tenant", "apply")
    bridge("tenant", "pause", "acme/orders")
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    bridge("tenant", "apply")
    assert bridge("tenant", "resume", "acme/orders").stdout == "acme: route orders goes on\n"
    assert bridge("tenant", "resume", "acme/orders").exit_code == 2


def lines_of(done: Result) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_versions_say_who_when_why_and_what(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply", "--author", "ana@ci", "--why", "größer\nals 1")
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    bridge("tenant", "apply")
    newest, oldest = lines_of(bridge("tenant", "versions", "key:4711", "--json"))
    assert newest["changes"] == ["route orders removed", "route requests added"]
    assert (newest["in_force"], newest["how"]) == (True, "apply")
    assert (oldest["by"], oldest["why"], oldest["in_force"]) == ("ana@ci", "größer\nals 1", False)
    assert oldest["changes"] == ["new, with key '4711': 1 connection, 1 route"]
    assert newest["time"] >= oldest["time"] > "2026"
    shown = bridge("tenant", "versions", "acme").stdout
    assert shown.startswith(f"acme: revision {newest['revision']} (in force), applied 20")
    assert "\n    route orders removed\n" in shown
    newest, oldest = lines_of(bridge("tenant", "versions", "acme", "--diff", "--json"))
    assert [line for line in newest["diff"] if line[0] in "+-"] == [
        "--- tenant.yaml (before)",
        "+++ tenant.yaml",
        "-  orders: {mapping: order, connection: sap}",
        "+  requests: {mapping: order, connection: sap}",
    ]
    assert '+key: "4711"' in oldest["diff"]
    assert "        -  orders:" in bridge("tenant", "versions", "acme", "--diff").stdout
    assert bridge("tenant", "versions", "globex").exit_code == 2


def test_what_a_version_says_of_its_author_is_short(bridge: Bridge) -> None:
    for option in ("--why", "--author"):
        refused = bridge("tenant", "apply", option, "ü" * 201)
        assert refused.exit_code == 2
        assert f"{option} has at most 200 characters" in refused.stderr
    assert bridge("tenant", "apply", "--why", "😀" * 200, "--author", "😀" * 200).exit_code == 0
    assert lines_of(bridge("tenant", "versions", "acme", "--json"))[0]["why"] == "😀" * 200


def test_a_rollback_is_a_new_version_and_apply_leaves_it_until_it_is_pulled_or_forced(
    bridge: Bridge, tmp_path: Path
) -> None:
    bridge("tenant", "apply")
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    bridge("tenant", "apply")
    done = bridge("tenant", "rollback", "acme", "--why", "requests come twice")
    first, *changes = done.stdout.splitlines()
    assert re.fullmatch(r"acme: revision \d is as revision 1 was", first)
    assert changes == ["    route orders added", "    route requests removed"]
    assert bridge("tenant", "rollback", "acme", "1").stdout.endswith("which is in force, says the same\n")
    newest = lines_of(bridge("tenant", "versions", "acme", "--json"))[0]
    assert (newest["how"], newest["of"], newest["why"]) == ("rollback", 1, "requests come twice")
    assert "orders: order → sap" in bridge("tenant", "list").stdout
    refused = bridge("tenant", "apply")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "acme: it was rolled back to revision 1 by" in refused.stderr
    assert "would undo route orders, route requests: take it over with `bridge tenant pull`" in refused.stderr
    assert bridge("tenant", "apply", "--dry-run").exit_code == 1
    pulled = bridge("tenant", "pull")
    assert pulled.stdout == f"acme: revision {newest['revision']}\n    tenant.yaml written\n"
    again = bridge("tenant", "apply")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (0, "acme: unchanged")
    assert (tmp_path / "tenants/acme/tenant.yaml").read_text() == TENANT
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    assert bridge("tenant", "apply").exit_code == 0  # it was pulled: now it is meant
    bridge("tenant", "rollback", "acme", "1")
    bridge("tenant", "pull")
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    assert bridge("tenant", "apply").exit_code == 0
    bridge("tenant", "rollback", "acme", "1")
    assert bridge("tenant", "apply", "--force").exit_code == 0
    assert "requests: order → sap" in bridge("tenant", "list").stdout


def test_a_rollback_to_what_is_not_there_says_what_there_is(bridge: Bridge) -> None:
    bridge("tenant", "apply")
    for words, expected in (
        (("acme",), "tenant acme has not an earlier version; those kept: 1"),
        (("acme", "7"), "tenant acme has not a version of revision 7; those kept: 1"),
        (("globex",), "no tenant 'globex' was ever in force"),
    ):
        done = bridge("tenant", "rollback", *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert expected in done.stderr


def test_what_another_folder_changed_since_is_not_undone(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    shutil.copytree(tmp_path / "tenants", tmp_path / "theirs")
    (tmp_path / "theirs/acme/tenant.yaml").write_text(TENANT.replace("sap.example", "other.example"))
    assert bridge("tenant", "apply", "theirs", "--author", "bob@vm").exit_code == 0
    tenant(tmp_path, "acme", TENANT + "timezone: America/Lima\n")
    refused = bridge("tenant", "apply", "--json")
    assert refused.exit_code == 1
    assert "acme: it was changed by bob@vm at" in refused.stderr
    assert "would undo connection sap:" in refused.stderr
    assert lines_of(refused)[0]["refused"] in refused.stderr
    # who has their change too, undoes nothing
    tenant(tmp_path, "acme", TENANT.replace("sap.example", "other.example") + "timezone: America/Lima\n")
    done = bridge("tenant", "apply")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "acme: timezone: 'UTC' → 'America/Lima'")


def test_a_fresh_checkout_is_believed(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    shutil.rmtree(tmp_path / "tenants/.bridge")
    tenant(tmp_path, "acme", TENANT.replace("orders", "requests"))
    assert bridge("tenant", "apply", "--author", "ci").exit_code == 0
    bridge("tenant", "rollback", "acme")
    shutil.rmtree(tmp_path / "tenants/.bridge")
    refused = bridge("tenant", "apply")
    assert refused.exit_code == 1
    assert "acme: it was rolled back to revision 1" in refused.stderr


def test_what_the_folder_remembers_is_ignored_by_git(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply", "--dry-run")
    assert not (tmp_path / "tenants/.bridge").exists()
    bridge("tenant", "apply")
    assert (tmp_path / "tenants/.bridge/.gitignore").read_text() == "*\n"
    assert list(json.loads((tmp_path / "tenants/.bridge/in-force.json").read_text()).values()) == [
        {"acme": 1}
    ]


def test_a_dry_run_ends_with_1_where_something_would_change(bridge: Bridge, tmp_path: Path) -> None:
    assert bridge("tenant", "apply", "--dry-run").exit_code == 0
    would = bridge("tenant", "apply", "--dry-run", "--exit-code")
    assert (would.exit_code, would.stderr) == (1, "")
    assert "1 of 1 tenants would change" in would.stdout
    bridge("tenant", "apply")
    assert bridge("tenant", "apply", "--dry-run", "--exit-code").exit_code == 0
    (tmp_path / "tenants/acme/tenant.yaml").write_text(f"# only a remark\n{TENANT}")
    assert bridge("tenant", "apply", "--dry-run", "--exit-code", "--prune").exit_code == 0
    shutil.rmtree(tmp_path / "tenants/acme")
    assert bridge("tenant", "apply", "--dry-run", "--exit-code", "--prune").exit_code == 1
    assert bridge("tenant", "apply", "--exit-code").exit_code == 2


def test_who_has_no_folder_any_more_is_removed_and_can_come_back(bridge: Bridge, tmp_path: Path) -> None:
    tenant(tmp_path, "globex", TENANT.replace("4711", "4712"))
    bridge("tenant", "apply")
    bridge("tenant", "pause", "globex")
    shutil.rmtree(tmp_path / "tenants/globex")
    assert "globex" in bridge("tenant", "apply").stdout + bridge("tenant", "list").stdout
    pruned = bridge("tenant", "apply", "--prune")
    assert pruned.exit_code == 0
    assert "globex: removed, with key '4712': its route ends\n" in pruned.stdout
    assert "globex" not in bridge("tenant", "list").stdout
    newest = lines_of(bridge("tenant", "versions", "globex", "--json"))[0]
    assert (newest["how"], newest["in_force"], newest["changes"]) == ("remove", False, ["removed"])
    assert "globex" not in bridge("tenant", "apply", "--prune").stdout
    assert bridge("tenant", "rollback", "globex").exit_code == 0
    assert "globex: key '4712'" in bridge("tenant", "list").stdout
    assert "paused" not in bridge("tenant", "list").stdout


def test_a_tenant_with_a_mistake_is_not_pruned(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    tenant(tmp_path, "acme", "key: ''\n")
    assert bridge("tenant", "apply", "--prune").exit_code == 2
    assert "acme: key '4711'" in bridge("tenant", "list").stdout


def test_an_empty_folder_that_was_never_applied_prunes_nobody(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    (tmp_path / "empty").mkdir()
    refused = bridge("tenant", "apply", "empty", "--prune")
    assert refused.exit_code == 2
    assert "empty has no tenant in it and was never applied here" in refused.stderr
    assert bridge("tenant", "apply", "empty", "--prune", "--yes").exit_code == 0
    assert bridge("tenant", "list").stdout == ""


def test_a_key_that_a_refused_tenant_keeps_refuses_who_wants_it(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    tenant(tmp_path, "acme", TENANT.replace("4711", "4712").replace("rest", "soup"))
    tenant(tmp_path, "globex", TENANT)
    done = bridge("tenant", "apply")
    assert done.exit_code == 2
    assert "not applied: acme, globex" in done.stderr
    assert "globex: key: '4711' is the key of tenant 'acme'" in done.stderr
    tenant(tmp_path, "acme", TENANT.replace("4711", "4712"))
    assert bridge("tenant", "apply").exit_code == 0


def test_what_is_pulled_into_a_new_folder_is_in_force(bridge: Bridge, tmp_path: Path) -> None:
    text = TENANT.replace("{mapping: order,", "{mapping: generic_rest/work_order,") + (
        "  own: {mapping: order, connection: sap}\n"
    )
    tenant(tmp_path, "acme", f"# as it was written\n{text}")
    (tmp_path / "tenants/acme/lookups").mkdir()
    (tmp_path / "tenants/acme/lookups/units.csv").write_text("ours;theirs\nm;MTR\n")
    tenant(tmp_path, "globex", TENANT.replace("4711", "4712"))
    bridge("tenant", "apply")
    pulled = bridge("tenant", "pull", "acme", "out")
    assert pulled.stdout.splitlines()[1:] == [
        "    tenant.yaml written",
        "    mappings/order.yaml written",
        "    lookups/units.csv written",
    ]
    ours, theirs = tmp_path / "tenants/acme", tmp_path / "out/acme"
    for name in ("tenant.yaml", "mappings/order.yaml", "lookups/units.csv"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    assert not (theirs / "mappings/generic_rest").exists()
    assert bridge("tenant", "apply", "out", "--dry-run", "--exit-code").exit_code == 0
    assert len(bridge("tenant", "pull", "./all").stdout.splitlines()) == 7
    assert bridge("tenant", "apply", "all", "--dry-run", "--exit-code", "--prune").exit_code == 0
    typo = bridge("tenant", "pull", "acne")
    assert typo.exit_code == 2
    assert "no tenant 'acne' is in force; did you mean 'acme'?" in typo.stderr
    assert bridge("tenant", "pull", "globe", "acme").exit_code == 2


def test_a_shipped_mapping_of_another_text_is_pulled_as_the_tenants_own(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older/templates"
    (older / "demo").mkdir(parents=True)
    (older / "demo/order.yaml").write_text(MAPPING)
    tenant(tmp_path, "acme", TENANT.replace("{mapping: order,", "{mapping: demo/order,"))
    monkeypatch.setattr("bridge.cli.tenant_apply.shipped", lambda _: older)
    assert bridge("tenant", "apply").exit_code == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "mappings/demo/order.yaml written" in bridge("tenant", "pull", "./out").stdout
    assert bridge("tenant", "apply", "out", "--dry-run", "--exit-code").exit_code == 0


def test_a_pull_removes_what_is_not_in_force_and_keeps_cases(bridge: Bridge, tmp_path: Path) -> None:
    bridge("tenant", "apply")
    mappings = tmp_path / "tenants/acme/mappings"
    (mappings / "more.yaml").write_text(MAPPING)
    (mappings / "order.yaml").write_text(MAPPING + "repeat: unsafe\n")
    (mappings / "order.cases.yaml").write_text("cases: []\n")
    assert bridge("tenant", "pull", "acme").stdout.splitlines()[1:] == [
        "    mappings/order.yaml written",
        "    mappings/more.yaml removed",
    ]
    assert sorted(path.name for path in mappings.iterdir()) == ["order.cases.yaml", "order.yaml"]


def test_apply_says_which_secrets_are_not_set(bridge: Bridge, tmp_path: Path) -> None:
    auth = 'auth: {type: bearer, token: "${secret:erp_token}"}'
    tenant(tmp_path, "acme", TENANT.replace("https://sap.example", f"https://sap.example, {auth}"))
    first = bridge("tenant", "apply")
    assert first.exit_code == 0
    assert first.stderr == (
        "acme: secret erp_token is not set, and the deliveries that need it wait: "
        "`bridge secret set acme erp_token`\n"
    )
    settings = tmp_path / "bridge.yaml"
    settings.write_text(f"{settings.read_text()}secrets: {{key: '{'0' * 64}'}}\n")
    set_ = CliRunner().invoke(main, ["secret", "set", "acme", "erp_token"], input="t")
    assert set_.exit_code == 0, set_.output
    assert bridge("tenant", "apply").stderr == ""
