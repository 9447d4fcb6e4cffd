"""Packages of other people, as pip would leave them: a module beside its dist-info, in a folder on sys.path."""

import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors import registry

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "webdav"
KIND = """
from connectors.protocol import Delivered, Leaf, Prepared, RequestKey, RequestShape

SHAPE = RequestShape({"line": RequestKey(Leaf.TEXT, required=True)}, payload=("line",))

def prepare(request, idempotency_key):
    return Prepared("lines", dict(request))

def check_settings(settings):
    pass

class Lines:
    kind = "lines"
    prepare = staticmethod(prepare)

    async def send(self, prepared, permit=lambda: None):
        permit()
        return Delivered(None, prepared.parts["line"])

    async def aclose(self):
        pass

def open_connector(settings):
    return Lines()
"""


class Packages:
    """Those of one test."""

    def __init__(self, folder: Path) -> None:
        self.modules: list[str] = []
        self._folder = folder

    def add(self, name: str, kind: str = "lines", text: str = KIND) -> None:
        """The package `name`, which offers `kind` by a module named like it."""
        module = name.replace("-", "_")
        (self._folder / f"{module}.py").write_text(text)
        self.modules.append(module)
        self.describe(name, f"[bridge.connectors]\n{kind} = {module}\n")

    def add_example(self) -> None:
        """The package of docs/connectors.md, by what its pyproject.toml says."""
        project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
        [(kind, module)] = project["entry-points"]["bridge.connectors"].items()
        self.add(project["name"], kind, (EXAMPLE / f"{module}.py").read_text())

    def describe(self, name: str, entry_points: str) -> None:
        """The dist-info alone."""
        info = self._folder / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(entry_points)
        read_anew()

    def remove(self) -> None:
        """All of them, as `pip uninstall` and a restart."""
        for info in self._folder.glob("*.dist-info"):
            shutil.rmtree(info)
        for module in self.modules:
            sys.modules.pop(module, None)
        self.modules.clear()
        read_anew()


@contextmanager
def packages_in(folder: Path) -> Iterator[Packages]:
    """Afterwards there are none, as in a process that has just started."""
    packages = Packages(folder)
    sys.path.insert(0, str(folder))
    try:
        yield packages
    finally:
        packages.remove()
        sys.path.remove(str(folder))


def read_anew() -> None:
    registry.PLUG_INS._found = None
