"""The sections of bridge.yaml, each key checked, each complaint with file, line and remedy.

Every function takes a section's node (None: not written, so its defaults hold) and raises YamlError or
ConfigurationInvalid.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from bridge.environment import Environment
from bridge.listen import Listen
from eventbus.settings import StreamSettings
from pipeline.problems import mapping_of
from pipeline.quantities import duration, size
from pipeline.yaml_nodes import MappingNode, Mark, Node, ScalarNode, YamlError
from pipeline.yaml_tree import load_file

Network = IPv4Network | IPv6Network

_ROOT_KEYS = (
    "sources",
    "intake",
    "nats",
    "streams",
    "tenants",
    "egress",
    "http",
    "shutdown_timeout",
    "secrets",
)
_LEAST = 16 * 2**20


def _batched(node: Node) -> int:
    """The size of a stream that is written in atomic batches: one that never fits would be refused for ever."""
    found = size(node)
    if found < _LEAST:
        raise node.error(
            f"{node.mark.path}: write at least 16MB, not {node.describe()}: a batch may have 4 MB, and goes in whole"
        )
    return found


_STREAM_KEYS: Mapping[str, Mapping[str, Callable[[Node], float]]] = {
    "events": {"keep": duration, "max_bytes": _batched},
    "deliveries": {"keep": duration, "deadline": duration, "max_bytes": _batched},
    "attempts": {"keep": duration, "max_bytes": size},
    "dlq": {"max_bytes": size},
}
_KEY_BYTES = 32
NEW_KEY = "head -c 32 /dev/urandom | base64"
"""The command that makes a key for `secrets.key`."""


def root(file: Path) -> MappingNode:
    """The file as a mapping."""
    if not file.exists():
        raise YamlError(
            Mark(str(file), 1, 1),
            "there is no such file; name the configuration with --config FILE or $BRIDGE_CONFIG",
        )
    node = load_file(file)
    if node.is_null:
        raise node.error("is empty; write `sources:` with at least one source")
    return node.as_mapping()


def check_root(node: MappingNode) -> None:
    """Nothing but the known keys."""
    mapping_of(node, _ROOT_KEYS)


def http_listen(node: Node | None) -> Listen | None:
    """`listen`: HOST:PORT, or only a port; None: nothing is served."""
    listen = None if node is None else mapping_of(node, ("listen",)).get("listen")
    if listen is None or listen.is_null:
        return None
    text = (
        listen.text if isinstance(listen, ScalarNode) and isinstance(listen.value, int) else listen.as_text()
    )
    try:
        return Listen.parse(text)
    except ValueError as error:
        raise listen.error(f"{listen.mark.path}: {error}") from None


def streams(node: Node | None, *, embedded: bool) -> StreamSettings:
    """Sizes and ages; the embedded server reserves a sixteenth."""
    defaults = StreamSettings.embedded() if embedded else StreamSettings()
    if node is None:
        return defaults
    values: dict[str, Any] = {}
    for entry in mapping_of(node, _STREAM_KEYS):
        keys = _STREAM_KEYS[entry.key]
        section = MappingNode(entry.mark) if entry.value.is_null else mapping_of(entry.value, keys)
        for setting in section:
            if not setting.value.is_null:
                values[f"{entry.key}_{setting.key}"] = keys[setting.key](setting.value)
    return replace(defaults, **values)


def tenants(node: Node | None, environment: Environment) -> Path:
    """The tenants folder; whether it is there is seen when it is read."""
    return environment.folder / "tenants" if node is None else environment.path(node)


def egress(node: Node | None) -> tuple[Network, ...]:
    """`allow`: networks, as 10.20.0.0/16 or a single address."""
    allow = None if node is None else mapping_of(node, ("allow",)).get("allow")
    networks: list[Network] = []
    for item in () if allow is None else allow.as_sequence():
        try:
            networks.append(ip_network(item.as_text()))
        except ValueError as error:
            raise item.error(f"{item.mark.path}: {error}; write a network such as 10.20.0.0/16") from None
    return tuple(networks)


def shutdown_timeout(node: Node | None) -> float:
    """Seconds."""
    return 25.0 if node is None else duration(node)


def secrets_keys(node: Node | None, environment: Environment) -> tuple[bytes, ...]:
    """32 bytes each: the first encrypts the bucket SECRETS, all of them open it."""
    written = None if node is None else mapping_of(node, ("key",)).get("key")
    if written is None:
        return ()
    keys = [written] if isinstance(written, ScalarNode) else list(written.as_sequence())
    if not keys:
        raise written.error(
            f"{written.mark.path}: names no key; write one, or the newest and those before it"
        )
    return tuple(decode_key(environment.secret(key) or "", key) for key in keys)


def decode_key(text: str, node: Node) -> bytes:
    """32 bytes from 64 hexadecimal digits or base64."""
    for decode in (bytes.fromhex, _base64):
        try:
            found = decode(text.strip())
        except (ValueError, binascii.Error):
            continue
        if len(found) == _KEY_BYTES:
            return found
    raise node.error(
        f"{node.mark.path}: not a key of 32 bytes in base64 or hexadecimal; make one with `{NEW_KEY}`"
    )


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
