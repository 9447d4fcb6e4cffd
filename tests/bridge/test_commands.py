"""The console script itself: exit codes, one message on stderr, and never a traceback or a password."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli.main import main
from bridge.demo.nats_server import EmbeddedNats

PASSWORD = "geheim-4711"
TENANT = """\
key: "4711"
connections:
  sap:
    connector: rest
    base_url: https://sap.example
    auth: {type: bearer, token: "${secret:token}"}
routes:
  orders: {mapping: order, connection: sap}
"""
MAPPING = "source: {table: public.work_orders}\nconnector: rest\nrequest: {method: POST, path: /orders}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bridge.yaml on a server that nobody runs, and one tenant."""
    config(tmp_path, "nats://127.0.0.1:1")
    (tmp_path / "tenants/acme/mappings").mkdir(parents=True)
    (tmp_path / "tenants/acme/tenant.yaml").write_text(TENANT)
    (tmp_path / "tenants/acme/mappings/order.yaml").write_text(MAPPING)
    return tmp_path


def config(folder: Path, url: str, more: str = "") -> None:
    (folder / "bridge.yaml").write_text(
        "sources:\n  fracttal:\n    dsn: ${BRIDGE_SOURCE_DSN}\n    tables: {public.a: {tenant_column: null}}\n"
        f"nats: {{servers: ['{url}'], sync_interval: 2m{more}}}\n"
        f"streams: {{events: {{max_bytes: 64MB}}, deliveries: {{max_bytes: 64MB}}, attempts: {{max_bytes: 64MB}},"
        f" dlq: {{max_bytes: 64MB}}}}\nsecrets: {{key: {'ab' * 32}}}\n"
    )


def bridge(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `bridge …` in the folder."""
    script = Path(sys.executable).with_name("bridge")
    done = subprocess.run(
        [script, *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"BRIDGE_SOURCE_DSN": f"postgresql://bridge:{PASSWORD}@127.0.0.1:1/fracttal"},
    )
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done


def test_the_help_names_every_command(tmp_path: Path) -> None:
    done = bridge(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("cdc", "console", "demo", "mapping", "run", "secret", "tenant", "up"):
        assert f"\n  {name} " in done.stdout


def test_who_stops_reading_hears_of_no_defect() -> None:
    script = Path(sys.executable).with_name("bridge")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [script, "demo", "erp", "--list"], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tenants",), "No such command 'tenants'"),
        (("tenant", "aply"), "No such command 'aply'"),
        (("secret", "set", "acme"), "Missing argument 'NAME'"),
        (("secret", "set", "acme", "Token"), "'Token' cannot be a name"),
        (("secret", "set", "acme", "token"), "stdin is empty"),
        (
            ("tenant", "list", "--config", "other.yaml"),
            "other.yaml:1:1: there is no such file; name the configuration",
        ),
        (("tenant", "apply", "nowhere"), "nowhere:1:1: there is no such folder"),
        (("run", "--listen", "localhost"), "'localhost' is no address to listen at; write HOST:PORT"),
        (("up", "--listen", "65533"), "there is no port 65536; choose a lower one"),
        (("up", "--config", "other.yaml"), "other.yaml:1:1: there is no such file"),
    ],
)
def test_wrong_use_ends_with_2(
    words: tuple[str, ...], expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BRIDGE_SOURCE_DSN", "dbname=x")
    done = CliRunner().invoke(main, words)  # none of these begins to run, so none needs a process
    assert (done.exit_code, done.stdout) == (2, "")
    assert expected in done.stderr


@pytest.mark.parametrize("words", [("run",), ("up",)])
def test_a_port_that_is_taken_ends_with_2(words: tuple[str, ...], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = bridge(folder, *words, "--listen", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("words", [("tenant", "apply"), ("up",)])
def test_a_tenant_with_a_mistake_ends_with_2(
    words: tuple[str, ...], folder: Path, nats_server: EmbeddedNats, namespace: str
) -> None:
    config(folder, nats_server.url, f", namespace: {namespace}")
    (folder / "tenants/acme/tenant.yaml").write_text(TENANT.replace("${secret:token}", PASSWORD))
    done = bridge(folder, *words)
    assert done.returncode == 2
    assert (
        "tenants/acme/tenant.yaml:6:26: connections.sap.auth.token: a token is not written here"
        in done.stderr
    )


def test_two_tenants_with_one_key_end_with_2(folder: Path) -> None:
    (folder / "tenants/globex").mkdir()
    (folder / "tenants/globex/tenant.yaml").write_text('key: "4711"\n')
    done = bridge(folder, "tenant", "apply")
    assert done.returncode == 2
    assert "tenants/globex/tenant.yaml:1:6" in done.stderr
    assert "tenants/acme/tenant.yaml:1:6" in done.stderr


@pytest.mark.parametrize("words", [("tenant", "list"), ("up",)])
def test_a_server_that_is_not_there_ends_with_3(words: tuple[str, ...], folder: Path) -> None:
    done = bridge(folder, *words)
    assert done.returncode == 3
    assert "cannot reach NATS at nats://127.0.0.1:1" in done.stderr


def test_an_embedded_server_that_is_not_there_ends_with_3_and_names_bridge_up(folder: Path) -> None:
    text = (folder / "bridge.yaml").read_text()
    nats = next(line for line in text.splitlines() if line.startswith("nats:"))
    (folder / "bridge.yaml").write_text(text.replace(nats, "nats: {embedded: data}"))
    done = bridge(folder, "tenant", "list")
    assert done.returncode == 3
    assert "no nats-server runs in data (nats.embedded); start `bridge up`" in done.stderr


def test_other_lanes_than_the_streams_were_made_for_end_with_2(
    folder: Path, nats_server: EmbeddedNats, namespace: str
) -> None:
    config(folder, nats_server.url, f", namespace: {namespace}")
    assert bridge(folder, "tenant", "list").returncode == 0
    config(folder, nats_server.url, f", namespace: {namespace}, lanes: 4")
    done = bridge(folder, "tenant", "list")
    assert done.returncode == 2
    assert "lanes" in done.stderr


def test_tenants_and_secrets_from_the_command_line(
    folder: Path, nats_server: EmbeddedNats, namespace: str
) -> None:
    config(folder, nats_server.url, f", namespace: {namespace}")
    dry = bridge(folder, "tenant", "apply", "--dry-run")
    assert (dry.returncode, bridge(folder, "tenant", "list").stdout) == (0, "")
    assert "nothing was changed" in dry.stdout
    applied = bridge(folder, "tenant", "apply", "--json")
    assert applied.stdout == (
        '{"tenant": "acme", "revision": 1, "changes": ["new, with key \'4711\': 1 connection, 1 route"], '
        '"dry_run": false}\n'
    )
    assert re.fullmatch(
        r"acme: key '4711', revision 1, applied 20\S+Z by \S+@\S+; 1 version kept\n"
        r"    orders: order → sap \(https://sap\.example\)\n",
        bridge(folder, "tenant", "list").stdout,
    )
    assert bridge(folder, "secret", "set", "key:4711", "token", stdin=f"{PASSWORD}\n").returncode == 0
    listed = bridge(folder, "secret", "list", "acme")
    assert listed.stdout.startswith("acme  token  set 20")
    signing = bridge(folder, "secret", "set", "acme", "intake_partner", stdin=PASSWORD)
    assert "webhooks to /intake/partner/acme are signed with it" in signing.stderr
    assert "every secret is encrypted with the only key" in bridge(folder, "secret", "rotate").stdout
    bridge_yaml = folder / "bridge.yaml"
    bridge_yaml.write_text(bridge_yaml.read_text().replace("ab" * 32, f"[{'cd' * 32}, {'ab' * 32}]"))
    rotated = bridge(folder, "secret", "rotate")
    assert rotated.stdout.startswith(
        "2 secrets are now encrypted with the first key; take the older ones out"
    )
    (folder / "tenants/acme/tenant.yaml").write_text(TENANT.replace("orders", "requests"))
    assert (
        "acme: route orders removed\n    route requests added\n" in bridge(folder, "tenant", "apply").stdout
    )
