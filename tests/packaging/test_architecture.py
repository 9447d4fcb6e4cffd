"""docs/architecture.md names modules that are there, and calls pure what is held to be so."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "architecture.md").read_text()


def rooms() -> Iterator[tuple[str, str, str]]:
    """The folder of each row of the table, what decides in it, and what acts."""
    table = GUIDE.partition("| room | decides | acts |\n|---|---|---|\n")[2].partition("\n\n")[0]
    room = ""
    for row in table.splitlines():
        first, decides, acts = row.split("|")[1:-1]
        room = match[1] if (match := re.match(r" `([a-z_/]+)/`", first)) else room
        yield room, decides, acts


def named(room: str, cell: str) -> Iterator[Path]:
    """Those of a cell; ``console/` (`marker`)` are a folder and a module in it."""
    for folder, inner, name in re.findall(r"`([a-z]+/)` \(([^)]*)\)|`([a-z0-9_*/]+)`", cell):
        if folder:
            yield ROOT / room / folder
            yield from (ROOT / room / folder / each for each in re.findall(r"`([a-z_]+)`", inner))
        else:
            yield ROOT / room / name


def test_every_module_of_the_table_is_there() -> None:
    found = [path for room, *cells in rooms() for cell in cells for path in named(room, cell)]
    assert len(found) > 150
    missing = [
        path
        for path in found
        if not (path.is_dir() or list(path.parent.glob(f"{path.name.rstrip('/')}.py*")))
    ]
    assert missing == []
    assert [name for name in re.findall(r"`([a-z_/]+\.py)`", GUIDE) if not (ROOT / name).is_file()] == []


def test_what_decides_is_held_to_be_pure() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = (
        each["source_modules"] for each in contracts if each["name"].startswith("What decides is pure")
    )
    deciding = {
        ".".join(path.relative_to(ROOT).parts)
        for room, decides, _ in rooms()
        for path in named(room, decides)
        if room != "bridge" and "*" not in path.name
    }
    assert deciding - {*pure} == set()
