"""The keys of the tenants' secrets: from bridge.yaml, or a file of their own beside the embedded server's data."""

import base64
import contextlib
import os
import secrets
from pathlib import Path

from bridge.settings import Settings
from bridge.settings_reader import decode_key
from pipeline.sealing import KEY_BYTES
from pipeline.yaml_nodes import Mark, ScalarNode

FILE = "secrets.key"


def secret_keys(settings: Settings) -> tuple[bytes, ...]:
    """`secrets.key`; without it, the file in `nats.embedded`, made at first use; none for servers of somebody else.

    The file holds a key a line, as the list in bridge.yaml does: the first one seals, all of them open.

    Raises:
        YamlError: the file holds no key.
    """
    if settings.secrets_keys or settings.embedded is None:
        return settings.secrets_keys
    file = settings.embedded / FILE
    if not file.exists():
        _make(file)
    lines = file.read_text(encoding="ascii").split() or [""]
    return tuple(
        decode_key(text, ScalarNode(Mark(str(file), line, 1, "the key file"), None, "", quoted=False))
        for line, text in enumerate(lines, 1)
    )


def _make(file: Path) -> None:
    """Whole or not at all, readable by us alone; of two at once the first one's key stays."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f"{FILE}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, file)
    finally:
        part.unlink()
