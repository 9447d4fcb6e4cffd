"""compose.yaml fits the files and settings that it names (no container engine needed)."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.settings import load_settings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text())


def test_its_bridge_yaml_is_valid_and_names_the_other_services(compose: Any, tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(compose["configs"]["bridge"]["content"].replace("$$", "$"))
    environment = compose["services"]["bridge"]["environment"]
    settings = load_settings(file, environment)
    assert settings.nats.servers == ("nats://nats:4222",)
    assert "@postgres:5432/" in settings.sources["fracttal"].dsn


def test_every_captured_table_is_made_at_the_first_start(compose: Any, tmp_path: Path) -> None:
    (sql,) = [v.split(":")[0] for v in compose["services"]["postgres"]["volumes"] if v.startswith("./")]
    made = (REPOSITORY / sql).read_text()
    captured = yaml.safe_load(compose["configs"]["bridge"]["content"])["sources"]["fracttal"]["tables"]
    assert captured
    for table in captured:
        assert f"CREATE TABLE {table.removeprefix('public.')} (" in made


def test_the_image_is_built_from_what_the_wheel_needs() -> None:
    kept = (REPOSITORY / ".dockerignore").read_text()
    for name in ("bridge", "cdc", "connectors", "eventbus", "pipeline", "templates", "migrations"):
        assert f"!{name}/" in kept
