"""`bridge tenant` on a real server: what an operator types, reads, and gets as exit code."""

import json
from collections.abc import Callable
from pathlib import Path

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
