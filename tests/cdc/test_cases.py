"""The case list on each version of PostgreSQL and from each plugin: the same events, or the difference is stated."""

from itertools import pairwise
from typing import Any

import pytest

from bridge.demo.postgres_server import EmbeddedPostgres
from cdc.event_id import parse_event_id
from tests.cdc.cases.case import Case, seen
from tests.cdc.cases.every_case import CASES
from tests.cdc.decoding import CaseDatabase

_PLACES = [
    ("postgres_15", "pgoutput"),
    ("postgres_15", "wal2json"),
    ("postgres_16", "pgoutput"),
    ("postgres", "pgoutput"),
    ("postgres", "pgoutput streamed"),
]


@pytest.fixture(params=_PLACES, ids=[f"{plugin} on {server}" for server, plugin in _PLACES])
def place(request: pytest.FixtureRequest) -> tuple[EmbeddedPostgres, str]:
    server, plugin = request.param
    return request.getfixturevalue(server), plugin


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_case(place: tuple[EmbeddedPostgres, str], case: Case) -> None:
    server, plugin = place
    database = CaseDatabase(server, plugin)
    await database.prepare()
    events = await database.events(case)
    expected, ordinals = case.events, case.ordinals
    if plugin == "wal2json":
        expected = case.wal2json or expected
        ordinals = case.wal2json_ordinals or ordinals
    assert [seen(event) for event in events] == list(expected)
    for found, wanted in zip(events, expected, strict=True):
        for member in ("key", "before", "after"):  # the order of columns, too
            assert list(found[member] or ()) == list(wanted[member] or ())
    if ordinals is not None:
        assert [event["source"]["ordinal"] for event in events] == list(ordinals)
    check_places(events)


def check_places(events: list[dict[str, Any]]) -> None:
    """Ids are commit LSN and ordinal, and rise."""
    for event in events:
        source = event["source"]
        assert event["id"] == f"shop:{source['commit_lsn']}:{source['ordinal']}"
    places = [parse_event_id(event["id"]) for event in events]
    assert all(earlier < later for earlier, later in pairwise(places))
