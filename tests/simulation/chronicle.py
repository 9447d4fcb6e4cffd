"""What happened in a run, and what is raised when an invariant of it breaks."""

from collections.abc import Callable

from eventbus.lsn import format_lsn

_SHOWN = 400


class Violated(AssertionError):
    """What must hold does not: seed, the invariant's name, what broke it, and the history."""


class Chronicle:
    """One run's. Entries are put into words only where they are wanted: most runs fail in nothing."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._entries: list[tuple[object, ...]] = []
        self.note: Callable[[tuple[object, ...]], None] = self._entries.append

    def violated(self, invariant: str, what: str) -> Violated:
        """`invariant`: its name in README.md."""
        left_out = len(self._entries) - _SHOWN
        story = [f"… {left_out} entries before"] if left_out > 0 else []
        story += [" ".join(map(_word, entry)) for entry in self._entries[-_SHOWN:]]
        return Violated(f"seed {self.seed}: {invariant}: {what}\n  " + "\n  ".join(story))


def _word(part: object) -> str:
    if isinstance(part, int) and part > 2**20:
        return format_lsn(part)
    if isinstance(part, tuple):
        return f"({', '.join(map(_word, part))})"
    return f"{part:.1f}s" if isinstance(part, float) else str(part)
