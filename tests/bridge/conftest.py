"""`bridge` as an operator uses it who has dead letters."""

from pathlib import Path

import pytest

from bridge.demo.nats_server import EmbeddedNats
from tests.bridge.dlq_cli import Cli


@pytest.fixture
def bridge(tmp_path: Path, nats_server: EmbeddedNats, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """In a folder of its own, with tenant acme in force."""
    monkeypatch.chdir(tmp_path)
    found = Cli(tmp_path, nats_server.url, namespace)
    found("tenant", "apply")
    return found
