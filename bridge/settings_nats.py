"""The section `nats` of bridge.yaml: which servers, or a server of our own."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bridge.environment import Environment
from eventbus.settings import NatsSettings
from pipeline.problems import mapping_of
from pipeline.quantities import check_name, duration
from pipeline.yaml_nodes import MappingNode, Node, ScalarNode, YamlError

_SERVER_KEYS = ("servers", "user", "password", "token", "credentials", "tls", "sync_interval", "replicas")
_KEYS = ("embedded", "namespace", "lanes", *_SERVER_KEYS)
_SCHEMES = ("nats", "tls", "ws", "wss")
_MAX_REPLICAS = 5
_MAX_LANES = 256


def nats(node: Node | None, environment: Environment) -> tuple[NatsSettings, Path | None]:
    """How the servers are reached, and the embedded server's folder where we run it.

    Raises:
        YamlError: naming file, line and remedy.
    """
    if node is None:
        return NatsSettings(), None
    section = mapping_of(node, _KEYS)
    namespace = _namespace(section.get("namespace"))
    lanes = _int(section.get("lanes"), NatsSettings().lanes, _MAX_LANES)
    if (embedded := section.get("embedded")) is not None:
        _only_embedded(section)
        own = NatsSettings(servers=(), namespace=namespace, lanes=lanes, sync_interval=0.0)
        return own, environment.path(embedded)
    return replace(_servers(section, environment), namespace=namespace, lanes=lanes), None


def _only_embedded(section: MappingNode) -> None:
    for key in _SERVER_KEYS:
        entry = section.entry(key)
        if entry is not None and not entry.value.is_null:
            raise YamlError(
                entry.mark,
                f"{entry.mark.path}: the embedded server knows no {key!r}; leave it out, or leave out `embedded` "
                "and name `servers`",
            )


def _servers(section: MappingNode, environment: Environment) -> NatsSettings:
    tls = section.get("tls")
    files = MappingNode(section.mark) if tls is None else mapping_of(tls, ("ca", "cert", "key"))
    servers = section.get("servers")
    defaults = NatsSettings()
    return NatsSettings(
        servers=defaults.servers if servers is None else _urls(servers, environment),
        replicas=_int(section.get("replicas"), defaults.replicas, _MAX_REPLICAS),
        sync_interval=_sync_interval(section.get("sync_interval"), defaults.sync_interval),
        user=environment.secret(section.get("user")),
        password=environment.secret(section.get("password")),
        token=environment.secret(section.get("token")),
        credentials_file=_file(section.get("credentials"), environment),
        tls_ca_file=_file(files.get("ca"), environment),
        tls_cert_file=_file(files.get("cert"), environment),
        tls_key_file=_file(files.get("key"), environment),
    )


def _urls(node: Node, environment: Environment) -> tuple[str, ...]:
    urls = tuple(environment.text(item) for item in node.as_sequence())
    for url, item in zip(urls, node.as_sequence(), strict=True):
        if urlsplit(url).scheme not in _SCHEMES or not urlsplit(url).hostname:
            raise item.error(f"{item.mark.path}: not a NATS URL; write nats://host:4222")
    if not urls:
        raise node.error(f"{node.mark.path}: names no server; write [nats://host:4222]")
    return urls


def _sync_interval(node: Node | None, default: float) -> float:
    if node is None:
        return default
    return 0.0 if isinstance(node, ScalarNode) and node.text == "always" else duration(node)


def _int(node: Node | None, default: int, maximum: int) -> int:
    return default if node is None else node.as_int(1, maximum)


def _namespace(node: Node | None) -> str:
    name = "" if node is None else node.as_text()
    return check_name(name, node.mark, "a namespace") if name and node is not None else ""


def _file(node: Node | None, environment: Environment) -> str | None:
    if node is None:
        return None
    path = environment.path(node)
    if not path.is_file():
        raise node.error(f"{node.mark.path}: there is no file {path}")
    return str(path)
