"""`intake` in bridge.yaml: what it means, and what is said about each mistake."""

import base64
from pathlib import Path

import pytest

from bridge.console.intake_source import MIB, IntakeSource
from bridge.settings import Settings, load_settings
from pipeline.problems import ConfigurationInvalid

KEY, OTHER = b"a" * 24, b"b" * 32
VARIABLES = {"SECRET": f"whsec_{base64.b64encode(KEY).decode()}", "DSN": "dbname=x"}
SECOND = f"whsec_{base64.b64encode(OTHER).decode()}"


def written(folder: Path, intake: str, **more: bool) -> Settings:
    file = folder / "bridge.yaml"
    file.write_text(
        f"sources: {{shop: {{dsn: '${{DSN}}', tables: {{a.b: {{tenant_column: null}}}}}}}}\n{intake}"
    )
    return load_settings(file, VARIABLES, **{"with_intake": True, **more})


def test_the_defaults(tmp_path: Path) -> None:
    found = written(tmp_path, "intake: {partner: {}}\n")
    assert found.intake == {
        "partner": IntakeSource("partner", (), None, MIB, tolerance=300, remember=604_800, key=())
    }


def test_everything_written(tmp_path: Path) -> None:
    (tmp_path / "partner.json").write_text('{"required": ["type"]}')
    found = written(
        tmp_path,
        f"intake: {{partner: {{secret: ['${{SECRET}}', '{SECOND}'], schema: partner.json, max_bytes: 2MB,"
        " tolerance: 1m, remember: 1h, key: data.order.id}}\n",
    ).intake["partner"]
    assert found.secrets == (KEY, OTHER)
    assert found.schema is not None
    assert found.schema.complaint({}) is not None
    assert (found.max_bytes, found.tolerance, found.remember) == (2 * MIB, 60, 3_600)
    assert found.key == ("data", "order", "id")
    assert SECOND not in repr(found)


def test_other_commands_need_no_secret(tmp_path: Path) -> None:
    assert written(tmp_path, "intake: {partner: {secret: '${UNSET}'}}\n", with_intake=False).intake == {}


@pytest.mark.parametrize(
    ("intake", "complaint"),
    [
        ("{Partner: {}}", "2:10: 'Partner' cannot be a source's name"),
        ("{partner: {secrets: x}}", "unknown key 'secrets' in intake.partner; did you mean 'secret'?"),
        ("{partner: {secret: '${UNSET}'}}", "environment variable UNSET is not set"),
        ("{partner: {secret: geheim}}", "intake.partner.secret: not a webhook secret: write whsec_"),
        ("{partner: {secret: []}}", "intake.partner.secret: names no secret"),
        ("{partner: {schema: nowhere.json}}", "nowhere.json cannot be read: No such file"),
        ("{partner: {schema: bridge.yaml}}", "bridge.yaml is no JSON Schema to be used: not valid JSON"),
        ("{partner: {key: data..id}}", "expected names with points between them, such as data.id"),
        ("{partner: {max_bytes: 7}}", "expected a size such as 512MB"),
        ("{partner: {remember: 5m}}", "remember is shorter than twice tolerance (600 s)"),
        (f"{{{'p' * 54}: {{}}}}", "the name is too long for the tenants' own secrets"),
    ],
)
def test_a_mistake_is_told_with_its_place(intake: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as error:
        written(tmp_path, f"intake: {intake}\n")
    assert complaint in str(error.value)
    assert f"{tmp_path}/bridge.yaml:2:" in str(error.value)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("with_intake", [True, False])
def test_a_name_is_taken_once(with_intake: bool, tmp_path: Path) -> None:  # noqa: FBT001 — a parameter
    with pytest.raises(ConfigurationInvalid, match=r"2:10: intake.shop: `sources` has a source of that name"):
        written(tmp_path, "intake: {shop: {}}\n", with_intake=with_intake)
