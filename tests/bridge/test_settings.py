"""bridge.yaml: what it means, and what is said about each mistake: file, line, remedy, and no password."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from bridge.listen import Listen
from bridge.settings import Settings, load_settings
from cdc.settings import TableSettings
from eventbus.settings import GIB, StreamSettings
from pipeline.problems import ConfigurationInvalid
from pipeline.yaml_nodes import YamlError

PASSWORD = "geheim-4711"
VARIABLES = {"BRIDGE_SOURCE_DSN": f"postgresql://bridge:{PASSWORD}@db.example/fracttal", "EMPTY": ""}
SOURCE = """\
sources:
  fracttal:
    dsn: ${BRIDGE_SOURCE_DSN}
    tenant_column: id_company
    tables: {public.work_orders: {}}
"""


def written(folder: Path, text: str) -> Settings:
    file = folder / "bridge.yaml"
    file.write_text(text)
    return load_settings(file, VARIABLES)


def complaint(folder: Path, text: str) -> str:
    with pytest.raises((ConfigurationInvalid, YamlError)) as refused:
        written(folder, text)
    said = str(refused.value).replace(f"{folder}/", "")
    assert PASSWORD not in said
    return said


def test_five_lines_are_enough(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        "sources:\n"
        "  fracttal:\n"
        "    dsn: ${BRIDGE_SOURCE_DSN}\n"
        "    tables: {public.work_orders: {tenant_column: id_company}}\n"
        "nats: {embedded: data/nats}\n",
    )
    source = found.sources["fracttal"]
    assert (source.dsn, source.slot, source.publication) == (
        VARIABLES["BRIDGE_SOURCE_DSN"],
        "bridge",
        "bridge",
    )
    assert source.tables == {"public.work_orders": TableSettings("id_company")}
    assert found.embedded == tmp_path / "data/nats"
    assert found.nats.sync_interval == 0
    assert found.streams == StreamSettings.embedded()
    assert (found.tenants, found.shutdown_timeout) == (tmp_path / "tenants", 25.0)


def test_everything_written_out(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("00ff" * 16 + "\n")
    (tmp_path / "nats.creds").write_text("x")
    found = written(
        tmp_path,
        """\
sources:
  fracttal:
    dsn: ${BRIDGE_SOURCE_DSN}
    read_dsn: null
    plugin: pgoutput
    slot: other_slot
    publication: other
    tenant_column: id_company
    tables:
      public.work_orders: {key: [id, line], exclude: [photo]}
      public.items: {tenant_column: owner}
      public.countries: {tenant_column: null}
nats:
  servers: [nats://a:4222, "tls://b"]
  namespace: team-a
  replicas: 3
  sync_interval: always
  lanes: 8
  credentials: nats.creds
streams:
  events: {max_bytes: 2GB}
  deliveries: {deadline: 12h}
  attempts: {keep: 2d, max_bytes: 512MB}
tenants: customers
egress: {allow: [10.20.0.0/16, "::1/128"]}
http: {listen: 9464}
shutdown_timeout: 1m
secrets: {key: "${file:key}"}
""",
    )
    assert found.sources["fracttal"].tables == {
        "public.work_orders": TableSettings("id_company", ("id", "line"), ("photo",)),
        "public.items": TableSettings("owner"),
        "public.countries": TableSettings(None),
    }
    nats = found.nats
    assert (nats.servers, nats.namespace, nats.replicas) == (("nats://a:4222", "tls://b"), "team-a", 3)
    assert (nats.sync_interval, nats.lanes, nats.credentials_file) == (0.0, 8, str(tmp_path / "nats.creds"))
    streams = found.streams
    assert (streams.events_max_bytes, streams.deliveries_deadline) == (2 * GIB, 43_200.0)
    assert (streams.attempts_keep, streams.attempts_max_bytes) == (172_800.0, GIB // 2)
    assert found.egress == (ip_network("10.20.0.0/16"), ip_network("::1/128"))
    assert (found.tenants, found.shutdown_timeout) == (tmp_path / "customers", 60.0)
    assert found.listen == Listen("127.0.0.1", 9464)
    assert found.secrets_keys[0] == bytes.fromhex("00ff" * 16)


def test_commands_without_a_source_need_no_password_of_one(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(SOURCE)
    assert load_settings(file, {}, with_sources=False).sources == {}


def test_nothing_secret_is_in_what_settings_print(tmp_path: Path) -> None:
    found = written(
        tmp_path, SOURCE + f"nats: {{user: u, password: {PASSWORD}}}\nsecrets: {{key: {'ab' * 32}}}\n"
    )
    assert found.nats.password == PASSWORD
    assert PASSWORD not in repr(found)
    assert "ab" * 32 not in repr(found)
    assert repr(found.secrets_keys[0]) not in repr(found)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, SOURCE.replace("dsn", "dns") + "stream: {}\nshutdown_timeout: 25\n")
    assert len(said.splitlines()) == 3


MISTAKES = {
    "empty": ("", "bridge.yaml:1:1: is empty; write `sources:`"),
    "no sources": ("nats: {}", "bridge.yaml:1:1: key 'sources' is missing"),
    "unknown key": (SOURCE + "natz: {}", "bridge.yaml:6:1: unknown key 'natz'; did you mean 'nats'?"),
    "unknown key below": (
        SOURCE.replace("tenant_column", "tenantcolumn"),
        "bridge.yaml:4:5: unknown key 'tenantcolumn' in sources.fracttal; did you mean 'tenant_column'?",
    ),
    "bad yaml": ("sources: [", "bridge.yaml:2:1: is not valid YAML"),
    "tabs": ("sources:\n\tfracttal: {}", "indent with spaces, not with tabs"),
    "duplicate key": (SOURCE + "sources: {}", "bridge.yaml:6:1: key 'sources' is already in line 1"),
    "source's name": (
        SOURCE.replace("fracttal", "Fracttal"),
        "bridge.yaml:2:3: 'Fracttal' cannot be a source's name",
    ),
    "no dsn": (
        "sources: {fracttal: {tables: {public.a: {tenant_column: null}}}}",
        "bridge.yaml:1:21: sources.fracttal: key 'dsn' is missing",
    ),
    "dsn": (
        SOURCE.replace("${BRIDGE_SOURCE_DSN}", f"postgresql//u:{PASSWORD}@h"),
        "bridge.yaml:3:10: sources.fracttal.dsn: the dsn is neither a URI (postgresql://user@host:5432/database)",
    ),
    "empty dsn": (
        SOURCE.replace("${BRIDGE_SOURCE_DSN}", "''"),
        "bridge.yaml:3:10: sources.fracttal.dsn: the dsn is neither a URI",
    ),
    "dsn with a port that is none": (
        SOURCE.replace("${BRIDGE_SOURCE_DSN}", f"postgresql://bridge:{PASSWORD}@db.example:abc/x"),
        "bridge.yaml:3:10: sources.fracttal.dsn: the dsn's port is not a number",
    ),
    "dsn with a number": (
        SOURCE.replace("${BRIDGE_SOURCE_DSN}", "4711"),
        "bridge.yaml:3:10: sources.fracttal.dsn: expected text; put the value in quotes",
    ),
    "variable": (
        SOURCE.replace("BRIDGE_SOURCE_DSN", "NOT_SET"),
        "bridge.yaml:3:10: sources.fracttal.dsn: environment variable NOT_SET is not set; set it",
    ),
    "empty variable": (SOURCE.replace("BRIDGE_SOURCE_DSN", "EMPTY"), "environment variable EMPTY is empty"),
    "file": (
        SOURCE.replace("BRIDGE_SOURCE_DSN", "file:nowhere"),
        "bridge.yaml:3:10: sources.fracttal.dsn: file nowhere cannot be read: No such file or directory",
    ),
    "secret": (SOURCE.replace("BRIDGE_SOURCE_DSN", "secret:x"), "${secret:…} belongs to tenants"),
    "no reference": (SOURCE.replace("BRIDGE_SOURCE_DSN", "a b"), "${a b} is no reference; write ${NAME}"),
    "no table": (
        SOURCE.replace("{public.work_orders: {}}", "{}"),
        "bridge.yaml:5:13: sources.fracttal.tables: names no table",
    ),
    "table without schema": (
        SOURCE.replace("public.work_orders", "work_orders"),
        "bridge.yaml:5:14: sources.fracttal.tables.work_orders: not a table's name: 'work_orders'; write schema.table",
    ),
    "no tenant column": (
        SOURCE.replace("    tenant_column: id_company\n", ""),
        "bridge.yaml:4:14: sources.fracttal.tables.public.work_orders: no tenant_column",
    ),
    "excluded tenant": (
        SOURCE.replace("{}", "{exclude: [id_company]}"),
        "column 'id_company' tells the tenant",
    ),
    "slot": (
        SOURCE + "    slot: My-Slot",
        "bridge.yaml:6:11: sources.fracttal.slot: 'My-Slot' cannot be a slot",
    ),
    "plugin": (SOURCE + "    plugin: pgoutptu", "unknown value 'pgoutptu'; did you mean 'pgoutput'?"),
    "read_dsn": (SOURCE + "    read_dsn: x", "sources.fracttal.read_dsn: the dsn is neither a URI"),
    "outbox": (SOURCE + "    outbox: box", "sources.fracttal.outbox: not a table's name: 'box'"),
    "http": (
        SOURCE + "http: {listen: localhost}",
        "bridge.yaml:6:16: http.listen: 'localhost' is no address",
    ),
    "no such port": (SOURCE + "http: {listen: 65536}", "http.listen: '65536' is no address to listen at"),
    "events.keep": (SOURCE + "streams: {events: {keep: 7}}", "streams.events.keep: expected a duration"),
    "stream": (SOURCE + "streams: {event: {}}", "unknown key 'event' in streams; did you mean 'events'?"),
    "size": (
        SOURCE + "streams: {dlq: {max_bytes: 4 gigs}}",
        "streams.dlq.max_bytes: expected a size such as 512MB",
    ),
    "size that a batch may exceed": (
        SOURCE + "streams: {deliveries: {max_bytes: 15MB}}",
        "streams.deliveries.max_bytes: write at least 16MB, not",
    ),
    "duration": (
        SOURCE + "shutdown_timeout: 25",
        "bridge.yaml:6:19: shutdown_timeout: expected a duration such as 30s",
    ),
    "no duration": (SOURCE + "shutdown_timeout: 0s", "above zero"),
    "embedded and servers": (
        SOURCE + "nats: {embedded: x, servers: [nats://a]}",
        "bridge.yaml:6:21: nats.servers: the embedded server knows no 'servers'",
    ),
    "server": (
        SOURCE + "nats: {servers: ['http://a']}",
        "nats.servers[0]: not a NATS URL; write nats://host:4222",
    ),
    "no server": (SOURCE + "nats: {servers: []}", "nats.servers: names no server"),
    "password as a number": (
        SOURCE + "nats: {password: 4711}",
        "nats.password: expected text; put the value in quotes",
    ),
    "credentials": (
        SOURCE + "nats: {credentials: nowhere.creds}",
        "nats.credentials: there is no file nowhere.creds",
    ),
    "lanes": (
        SOURCE + "nats: {lanes: 0}",
        "nats.lanes: expected a whole number from 1 up to 256, not the number 0",
    ),
    "namespace": (SOURCE + "nats: {namespace: A.b}", "'A.b' cannot be a namespace"),
    "network": (
        SOURCE + "egress: {allow: [10.20.0.1/16]}",
        "10.20.0.1/16 has host bits set; write a network such as",
    ),
    "key": (
        SOURCE + f"secrets: {{key: {PASSWORD}}}",
        "secrets.key: not a key of 32 bytes in base64 or hexadecimal; make one with",
    ),
    "keys": (SOURCE + "secrets: {key: [a, b]}", "secrets.key[0]: not a key of 32 bytes"),
    "no keys": (SOURCE + "secrets: {key: []}", "secrets.key: names no key"),
    "one slot twice": (
        SOURCE + SOURCE.replace("sources:\n", "").replace("fracttal", "second"),
        "bridge.yaml:6:3: sources fracttal and second read the same slot 'bridge'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_its_remedy(mistake: str, tmp_path: Path) -> None:
    text, expected = MISTAKES[mistake]
    assert expected in complaint(tmp_path, text)


def test_capture_needs_no_key_of_secrets(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(SOURCE + "secrets: {key: '${file:nowhere}'}\n")
    assert load_settings(file, VARIABLES, with_secrets=False).secrets_keys == ()
    with pytest.raises(ConfigurationInvalid, match=r"secrets\.key: file .* cannot be read"):
        load_settings(file, VARIABLES)


def test_a_missing_file_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(YamlError, match="there is no such file; name the configuration with --config"):
        load_settings(tmp_path / "bridge.yaml", {})
