"""`bridge dlq` on a real nats-server: what an operator types, reads, and gets as exit code."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bridge.cli.main import main
from pipeline.dlq.tombstone import read_tombstone
from tests.bridge.dlq_cli import MAPPING, Cli
from tests.pipeline.burying import Graveyard, answered


async def several(graves: Graveyard) -> None:
    """Of keys 1, 2, 1: rejected, mapping, rejected."""
    await graves.bury(1, class_="CC/103", answer=answered(422, {"message": "no cost centre"}))
    await graves.bury(2, "mapping", class_="lookup", message="lookups/centres.csv has no row '2'")
    await graves.bury(1, class_="CC/103", message="second")


def test_list_tells_at_a_glance_what_is_stuck_and_why(bridge: Cli) -> None:
    assert bridge("dlq", "list").stdout == "no open dead letter\n"
    bridge.bury(several)
    head, *lines = bridge("dlq", "list").stdout.splitlines()
    assert head.split()[-2:] == ["what", "happened"]
    assert [line.split()[2:5] for line in lines] == [
        ["acme/orders/3", "rejected", "CC/103"],
        ["acme/orders/2", "mapping", "lookup"],
        ["acme/orders/1", "rejected", "CC/103"],
    ]
    assert lines[1].endswith("lookups/centres.csv has no row '2'")
    assert [one["id"] for one in bridge.json("dlq", "list", "--limit", "1")] == ["acme/orders/3"]
    summary = bridge.json("dlq", "list", "--summary")
    assert [(one["open"], one["route"], one["reason"], one["class"]) for one in summary] == [
        (2, "orders", "rejected", "CC/103"),
        (1, "orders", "mapping", "lookup"),
    ]
    assert "lookup" in bridge("dlq", "list", "--summary").stdout


FILTERS = [
    (["--tenant", "acme"], [3, 2, 1]),
    (["--tenant", "key:4711"], [3, 2, 1]),
    (["--tenant", "other"], []),
    (["--route", "orders"], [3, 2, 1]),
    (["--route", "acme/orders"], [3, 2, 1]),
    (["--route", "acme/others"], []),
    (["--reason", "mapping"], [2]),
    (["--class", "CC/103"], [3, 1]),
    (["--class", "CC/103", "--class", "lookup"], [3, 2, 1]),
    (["--since", "1h"], [3, 2, 1]),
    (["--until", "1h"], []),
    (["--since", "2999-01-01"], []),
    (["2", "acme/orders/3"], [3, 2]),
    (["shop:0/1:1"], [1]),
    (["shop:0/1:1/acme/orders", "--reason", "mapping"], []),
]
WRONG = [
    ("list", "--reason", "unknown"),
    ("list", "--since", "yesterday"),
    ("list", "--tenant", "Not A Name"),
    ("list", "--route", "a/b", "--tenant", "c"),
    ("show",),
    ("replay",),
    ("replay", "--all", "--rate", "fast"),
    ("discard", "--tenant", "acme"),
    ("discard", "--yes"),
]


def test_filters_choose(bridge: Cli) -> None:
    bridge.bury(several)
    for words, seqs in FILTERS:
        assert [one["delivery_seq"] for one in bridge.json("dlq", "list", *words)] == seqs, words


def test_wrong_use_is_told(bridge: Cli) -> None:
    bridge.bury(several)
    for words in WRONG:
        bridge("dlq", *words, code=2)
    assert len(bridge.json("dlq", "list")) == 3


def test_show_tells_everything_and_what_to_do(bridge: Cli) -> None:
    bridge.bury(several)
    text = bridge("dlq", "show", "2").stdout
    assert "mapping (lookup)" in text
    assert "add the missing row to the crosswalk (lookups/*.csv of tenant acme)" in text
    assert "`bridge dlq replay acme/orders/2`" in text
    [shown] = bridge.json("dlq", "show", "acme/orders/1")
    assert (shown["status"], shown["response"]) == (422, {"message": "no cost centre"})
    assert (shown["event"]["after"], shown["mapping_version"]) == ({"id": 1, "n": 1}, "3f2a")
    assert "99" in bridge("dlq", "show", "99", code=1).stderr


def test_a_dry_run_shows_what_the_mapping_in_force_makes_of_them_and_sends_nothing(bridge: Cli) -> None:
    bridge.bury(several)
    bridge.tenant(MAPPING, "n,centre\n1,north\n3,east\n")
    bridge("tenant", "apply")
    first, second, third = bridge.json("dlq", "replay", "--all", "--dry-run", code=1)
    assert (first["id"], first["path"]) == ("acme/orders/1", "/api/orders/1")
    assert first["headers"]["Idempotency-Key"] == "shop:0/1:1/acme/orders"
    assert first["body"] == {"n": 1, "centre": "north"}
    assert second["error"]["class"] == "lookup"
    assert third["body"]["centre"] == "east"
    text = bridge("dlq", "replay", "1", "2", "--dry-run", code=1)
    assert "PUT /api/orders/1\n" in text.stdout
    assert "would fail again (lookup)" in text.stdout
    [new] = bridge.json("dlq", "replay", "1", "--dry-run", "--new-key")
    assert new["headers"]["Idempotency-Key"] == "shop:0/1:1/acme/orders@1"
    assert bridge.copies() == []
    assert len(bridge.json("dlq", "list")) == 3


def test_a_dry_run_says_what_only_the_source_can_tell(bridge: Cli) -> None:
    bridge.bury(several)
    where = "enrich:\n  parts: {table: public.parts, where: {n: '{{ after.n }}'}, many: true}\n"
    bridge.tenant(where + MAPPING.replace("'{{ after.n }}'", "'{{ parts }}'"))
    bridge("tenant", "apply")
    [told] = bridge.json("dlq", "replay", "1", "--dry-run")
    assert "source shop cannot be read" in told["needs"]
    assert "cannot be shown now: " in bridge("dlq", "replay", "1", "--dry-run").stdout


def test_who_must_be_asked_is_asked(bridge: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(graves: Graveyard) -> None:
        for key in range(21):
            await graves.bury(key)

    bridge.bury(many)
    terminal = SimpleNamespace(isatty=lambda: True)
    for module in ("dlq_replay", "dlq_discard"):
        monkeypatch.setattr(f"bridge.cli.{module}.sys", SimpleNamespace(stdin=terminal))
    for words in (["replay", "--all"], ["discard", "1"]):
        asked = CliRunner().invoke(main, ["dlq", *words], input="n\n")
        assert asked.exit_code == 1
        assert "dead letter" in asked.output
    assert len(bridge.json("dlq", "list")) == 21
    assert CliRunner().invoke(main, ["dlq", "replay", "1", "--tenant", "acme"]).exit_code == 0
    assert CliRunner().invoke(main, ["dlq", "discard", "2"], input="y\n").exit_code == 0
    assert len(bridge.json("dlq", "list")) == 19


def test_no_password_is_shown(bridge: Cli) -> None:
    async def bury(graves: Graveyard) -> None:
        await graves.bury(1, "uncertain", message="https://me:hidden@erp.example gave no answer")

    bridge.bury(bury)
    for words in (["list"], ["list", "--json"], ["show", "1"], ["show", "1", "--json"], ["export"]):
        shown = bridge("dlq", *words).output
        assert "gave no answer" in shown
        assert "hidden" not in shown


def test_replay_sends_the_chosen_in_order_and_each_once(bridge: Cli) -> None:
    bridge.bury(several)
    done = bridge("dlq", "replay", "--class", "CC/103")
    assert done.stdout.splitlines()[-1] == "2 replayed, 0 skipped, 0 failed"
    assert [one.headers["Bridge-Replay"] for one in bridge.copies()] == ["1", "3"]
    assert [one["id"] for one in bridge.json("dlq", "list")] == ["acme/orders/2"]
    assert "acme/orders/1" in bridge("dlq", "replay", "acme/orders/1", code=1).stderr
    last, summary = bridge.json("dlq", "replay", "--all")
    assert (last["outcome"], last["verdict"], last["replayed_as"]) == (
        "done",
        "replayed",
        bridge.copies()[-1].seq,
    )
    assert summary == {"summary": "replayed", "done": 1, "skipped": 0, "failed": 0, "left": 0}
    assert len(bridge.copies()) == 3
    assert bridge("dlq", "replay", "--all").stderr == "no open dead letter is of these\n"


def test_a_key_keeps_its_order_although_its_letters_were_written_in_another(bridge: Cli) -> None:
    async def reversed_(graves: Graveyard) -> None:
        first = await graves.bury(1)
        await graves.bury(1)
        await graves.rebury(first)

    bridge.bury(reversed_)
    assert [one["delivery_seq"] for one in bridge.json("dlq", "list")] == [1, 2]
    bridge("dlq", "replay", "--all")
    assert [one.headers["Bridge-Replay"] for one in bridge.copies()] == ["1", "2"]


def test_what_would_die_again_is_not_sent(bridge: Cli) -> None:
    async def bury(graves: Graveyard) -> None:
        await graves.bury(1, "removed", tenant="gone")
        await graves.bury(2, "uncertain")

    bridge.bury(bury)
    told = bridge("dlq", "replay", "--tenant", "gone", code=1).stderr
    assert "gone/orders/1: its route is not in force" in told
    assert "it may have arrived" in bridge("dlq", "replay", "2", "--new-key", code=1).stderr
    assert bridge.copies() == []
    bridge("dlq", "replay", "2")
    assert len(bridge.copies()) == 1


def test_a_rate_is_kept(bridge: Cli) -> None:
    async def bury(graves: Graveyard) -> None:
        for key in range(6):
            await graves.bury(key)

    bridge.bury(bury)
    began = time.monotonic()
    bridge("dlq", "replay", "--all", "--rate", "20/s")
    assert time.monotonic() - began >= 5 / 20
    assert len(bridge.copies()) == 6


def test_discard_keeps_who_when_and_why(bridge: Cli) -> None:
    bridge.bury(several)
    done = bridge("dlq", "discard", "1", "3", "--yes", "--why", "a test order")
    assert done.stdout.splitlines()[-1] == "2 discarded, 0 skipped, 0 failed"
    assert [one["delivery_seq"] for one in bridge.json("dlq", "list")] == [2]
    tombstones = [read_tombstone(one.headers, one.payload) for one in bridge.stored("DLQ")]
    notes = [(one.verdict, one.note, "@" in one.by, one.at > 1e9) for one in tombstones if one is not None]
    assert notes == [("discarded", "a test order", True, True)] * 2
    assert bridge.copies() == []


def test_export_writes_them_whole_or_for_a_spreadsheet(bridge: Cli) -> None:
    async def bury(graves: Graveyard) -> None:
        await graves.bury(1, message="=HYPERLINK(1)", answer=answered(422, {"code": 7}))
        await graves.bury(2, big=True)

    bridge.bury(bury)
    first, second = map(json.loads, bridge("dlq", "export").stdout.splitlines())
    assert (first["event"]["key"], first["response"]) == ({"id": 1}, {"code": 7})
    assert second["event"]["after"]["id"] == 2
    bridge("dlq", "export", "--format", "csv", "--output", "dead.csv", "--tenant", "acme")
    rows = list(csv.DictReader(io.StringIO(Path("dead.csv").read_text())))
    assert [(row["id"], row["table"], row["key"]) for row in rows] == [
        ("acme/orders/1", "public.orders", '{"id":1}'),
        ("acme/orders/2", "public.orders", '{"id":2}'),
    ]
    assert rows[0]["message"] == "'=HYPERLINK(1)"
    assert len(bridge.json("dlq", "list")) == 2


KILLED = """
import os, signal, sys
import pipeline.dlq.replaying as replaying
from bridge.cli.main import main

kind, count = sys.argv[1].split("-")
answer = replaying.Replaying._answer
times = 0

async def at_the_point(self, letter, request, pauses):
    global times
    here = type(request).__name__ == kind
    times += here
    result = await answer(self, letter, request, pauses)
    if here and times == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

replaying.Replaying._answer = at_the_point
main(sys.argv[2:])
"""


# of the second letter: claimed, copied, decided, replaced
@pytest.mark.parametrize("point", ["WriteMarker-3", "SendCopy-2", "WriteMarker-4", "Replace-2"])
def test_a_replay_that_is_killed_is_ended_by_the_next_and_nothing_is_sent_twice(
    bridge: Cli, point: str
) -> None:
    bridge.bury(several)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), point, "dlq", "replay", "--all"]
    root = str(Path(__file__).parents[2])
    killed = subprocess.run(command, cwd=bridge.folder, env=os.environ | {"PYTHONPATH": root}, check=False)
    assert killed.returncode == -signal.SIGKILL
    bridge("dlq", "replay", "--all")
    assert [one.headers["Bridge-Replay"] for one in bridge.copies()] == ["1", "2", "3"]
    assert bridge.json("dlq", "list") == []


@pytest.mark.slow
def test_ctrl_c_ends_behind_the_letter_under_way_and_the_same_command_goes_on(bridge: Cli) -> None:
    bridge.bury(several)
    command = [sys.executable, "-m", "bridge", "dlq", "replay", "--all", "--rate", "12/m"]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command,
        cwd=bridge.folder,
        env=os.environ | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("acme/orders/1: replayed as delivery ")
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 0
    assert "1 replayed, 0 skipped, 0 failed; stopped, 2 are left" in rest
    bridge("dlq", "replay", "--all")
    assert [one.headers["Bridge-Replay"] for one in bridge.copies()] == ["1", "2", "3"]
