"""Reads a WSDL in a process of its own first, which has limits: what is too much for it is never read where others work.

`python -I -m connectors.wsdl_trial`: a Task on stdin; exit 0: it can be read; REFUSED: stdout says why not.
"""

import os
import resource
import subprocess
import sys
from dataclasses import dataclass

import msgspec

from connectors.error_text import one_line
from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, shown

REFUSED = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """memory: bytes of address space; NetSuite's WSDL takes two fifths. wall_s: on a machine that is overloaded."""

    cpu_s: int = 10
    memory: int = 1 << 29
    wall_s: float = 60.0


LIMITS = Limits()


class Task(msgspec.Struct):
    """What the child is given."""

    root: str
    documents: dict[str, bytes]
    cpu_s: int
    memory: int


def try_out(documents: WsdlDocuments) -> None:
    """Blocks, for some seconds at most. Raises WsdlInvalid."""
    limits = LIMITS
    task = msgspec.json.encode(Task(documents.root, documents.found, limits.cpu_s, limits.memory))
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "connectors.wsdl_trial"],
            input=task,
            capture_output=True,
            timeout=limits.wall_s,
            check=False,
            env={},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise WsdlInvalid(f"{shown(documents.root)} takes longer than {limits.wall_s:g} s to read") from None
    if done.returncode == REFUSED:
        raise WsdlInvalid(one_line(done.stdout.decode(errors="replace")))
    if done.returncode != 0:
        raise WsdlInvalid(
            f"{shown(documents.root)} takes more than {limits.cpu_s} s of CPU or {limits.memory >> 20} MB of "
            "memory to read"
        )


def main() -> int:
    """The child's way."""
    os.nice(5)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    resource.setrlimit(resource.RLIMIT_CPU, (task.cpu_s, task.cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (task.memory, task.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from connectors.wsdl_model import read_wsdl  # noqa: PLC0415 — after the limits, not before them

    try:
        read_wsdl(WsdlDocuments(task.root, task.documents))
    except WsdlInvalid as error:
        sys.stdout.write(str(error))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
