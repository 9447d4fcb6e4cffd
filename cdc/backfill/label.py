"""What a read's message says of its run, for whoever goes on behind a torn batch (rule C5).

`Bridge-Backfill: <run>:<epoch>:<watermark's LSN>:<n>:<cursor as an ASCII JSON list>`. The position has the same, but it
is missing where a batch was stored in part.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from cdc.position import Runs, run_of, with_run
from eventbus.lsn import format_lsn, parse_lsn


class Label(NamedTuple):
    """lsn: of the watermark behind which the read stands; n: its number within the run.

    cursor: the key behind which the run reads on after it.
    """

    run: str
    epoch: int
    lsn: int
    n: int
    cursor: tuple[str, ...]

    @property
    def key(self) -> tuple[int, int, int]:
        """Its place among all events: behind those committed before the watermark, before all later ones."""
        return self.lsn, 0, self.n

    def text(self) -> str:
        return f"{self.run}:{self.epoch}:{format_lsn(self.lsn)}:{self.n}:{json.dumps(self.cursor)}"


def parse_label(text: str) -> Label:
    """Raises ValueError."""
    run, epoch, lsn, n, cursor = text.split(":", 4)
    return Label(run, int(epoch), parse_lsn(lsn), int(n), tuple(json.loads(cursor)))


def after_labels(runs: Runs, labels: Iterable[str], epoch: int) -> Runs:
    """The marks of a position, moved on by what a torn batch left behind it. Another epoch's labels say nothing."""
    for label in map(parse_label, labels):
        held = run_of(runs, label.run)
        if label.epoch == epoch and label.n > held.n:
            runs = with_run(runs, msgspec.structs.replace(held, n=label.n, cursor=label.cursor))
    return runs
