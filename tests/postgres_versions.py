"""Where the tests find each version of PostgreSQL: 15 from Debian (with wal2json), 16 and 18 from wheels."""

import importlib.util
import os
from pathlib import Path

import pytest

from bridge.demo.postgres_server import postgres_programs

_DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


def programs_of(version: int) -> Path:
    """The folder with its programs. Skips the test where there is none; in CI, which installs it, that is a failure."""
    match version:
        case 15:
            missing = (
                f"no PostgreSQL 15 in {_DEBIAN_15}: apt-get install postgresql-15-wal2json, as .ci/run does"
            )
            found = _DEBIAN_15
        case 16:
            missing = "no PostgreSQL 16: the wheel pgserver is not installed (`make install`)"
            # found, not imported: at import it would make folders
            spec = importlib.util.find_spec("pgserver")
            found = Path((spec and spec.origin) or "/none").parent / "pginstall" / "bin"
        case _:
            return postgres_programs()
    if not (found / "initdb").exists():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
