"""Compiles what is compiled (cdc/*.pyx) where a C compiler is at hand; without one the package is whole, and slower.

`BRIDGE_PURE=1` leaves it out on purpose.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """In place, beside its source: so an editable install has it too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        if self.target_name != "wheel":
            return  # the source's own: what an editable install runs stays as it is
        rooms = Path(self.root) / "cdc"
        for stale in rooms.glob("*.so"):
            stale.unlink()
        if os.environ.get("BRIDGE_PURE"):
            return
        try:
            _compile(Path(self.root), [str(source) for source in rooms.glob("*.pyx")])
        except Exception as error:  # noqa: BLE001 - whatever a compiler may fail with: the package works without
            self.app.display_warning(f"not compiled, capture takes more CPU: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _compile(root: Path, sources: list[str]) -> None:
    # build requirements, which an installation that is only used lacks
    from Cython.Build import cythonize  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(root)
        try:
            modules = cythonize(
                [os.path.relpath(source) for source in sources], build_dir=temporary, quiet=True
            )
            # an absolute folder of its own, and no configuration file: pyproject.toml is hatchling's
            build = Distribution({"ext_modules": modules, "packages": [], "py_modules": []}).get_command_obj(
                "build_ext"
            )
            build.inplace, build.build_temp = True, temporary
            build.ensure_finalized()
            build.run()
        finally:
            os.chdir(before)
