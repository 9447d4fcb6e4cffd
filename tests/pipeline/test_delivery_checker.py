"""The checker must see each kind of wrong, or the fault suite proves nothing."""

from dataclasses import replace
from typing import Any

import pytest

from tests.pipeline.delivery_checker import (
    CONFIRM_S,
    Asked,
    Disturbance,
    History,
    Letter,
    Published,
    Silence,
    Trouble,
    Violation,
    violations,
)

ROUTE, OTHER = ("acme", "orders"), ("globex", "orders")
WORKER, SERVER = Disturbance("worker", 1.5, 3.0), Disturbance("server", 1.5, 3.0)
KILLED_LATER = Disturbance("worker", 4.0, 5.0)
KILLED_MUCH_LATER = Disturbance("worker", 98.0, 99.0)


def published(number: int, key: str = "k", route: Any = ROUTE, at: float = 0.0) -> Published:
    return Published(route, key, number, f"e{number}", at)


def asked(number: int, began: float, status: int | None = 200) -> Asked:
    return Asked(f"e{number}", number, began, began + 0.1, status)


LINE = [published(1), published(2), published(3, "other")]
WELL = [asked(1, 1), asked(3, 1.05), asked(2, 2)]
REFUSED = Letter("e2", "rejected", 1)
LETTER = Letter("e1", "rejected", 1)
REMOVED = Letter("e2", "removed", 0)


@pytest.mark.parametrize(
    "history",
    [
        History(LINE, WELL),
        History(LINE, [asked(1, 0.5, None), asked(1, 0.7, 503), asked(1, 0.8, 429), *WELL]),
        History(LINE, [asked(1, 1), asked(1, 4), asked(2, 5), asked(3, 5)], disturbances=[WORKER]),
        History(LINE, [*WELL, asked(1, 4), asked(2, 5)], disturbances=[SERVER, WORKER]),
        History(LINE, [*WELL, asked(1, 6), asked(2, 7)], disturbances=[SERVER, KILLED_LATER]),
        History(LINE, [asked(1, 1), asked(2, 2, 422), asked(3, 3)], [REFUSED]),
        History(LINE, [asked(1, 1), asked(2, 2, 422), asked(3, 3)], [replace(REFUSED, became="discarded")]),
        History(LINE, [asked(1, 1, 422), *WELL[1:], asked(1, 4)], [Letter("e1", "rejected", 1, "replayed")]),
        History(
            LINE,
            [asked(1, 1, 422), WELL[1], asked(1, 1.6), asked(2, 2)],
            [Letter("e1", "rejected", 1, "replayed")],
            blocking=[ROUTE],
        ),
        History(
            LINE, [asked(1, 1, 422), *WELL[1:]], [Letter("e1", "rejected", 1, "discarded")], blocking=[ROUTE]
        ),
        History(LINE, WELL[:2], [REMOVED], removable=["e2"]),
        History(LINE, WELL, [replace(REMOVED, attempts=1)], [WORKER], removable=["e2"]),
        History(LINE, WELL, silences=[Silence(ROUTE, 1.5, 2.0), Silence(OTHER, 0, 9)]),
        History(
            [*LINE, published(4, "g", OTHER, 1.0)], [*WELL, asked(4, 1.5)], troubles=[Trouble(ROUTE, 1, 2, 3)]
        ),
    ],
)
def test_what_was_promised_holds(history: History) -> None:
    assert violations(history) == []


@pytest.mark.parametrize(
    ("history", "violation"),
    [
        (History(LINE, WELL[:2]), ("delivered", "e2")),
        (History(LINE, [*WELL[:2], asked(2, 2, None)]), ("delivered", "e2")),
        (
            History(LINE, [*WELL[:2], asked(2, 2, 422)], [replace(REFUSED, became="replayed")]),
            ("delivered", "e2"),
        ),
        (History(LINE, WELL, [REFUSED]), ("delivered", "e2")),
        (History(LINE, [asked(2, 0.5), *WELL[:2]]), ("order", "e2")),
        (History(LINE, [asked(2, 0.5, 503), *WELL]), ("order", "e2")),
        (History(LINE, [*WELL[:2], asked(2, 1.05)]), ("order", "e2")),
        (History(LINE, [*WELL, asked(1, 4)], disturbances=[WORKER]), ("order", "e1")),
        (History(LINE, [*WELL, asked(1, 4)], disturbances=[SERVER]), ("order", "e1")),
        (History(LINE, [*WELL, asked(1, 3.5)], disturbances=[SERVER, KILLED_LATER]), ("order", "e1")),
        (History(LINE, [asked(1, 1, 422), *WELL[1:]], [LETTER], blocking=[ROUTE]), ("order", "e2")),
        (History(LINE, [*WELL, asked(2, 2.5)]), ("repeats", "e2")),
        (History(LINE, [*WELL, asked(2, 4)], disturbances=[WORKER]), None),
        (
            History(LINE, [*WELL, asked(2, 99)], disturbances=[Disturbance("worker", 98, 99)]),
            ("repeats", "e2"),
        ),
        (
            History(LINE, [*WELL, asked(2, 2.5)], disturbances=[Disturbance("worker", 3, 4)]),
            ("repeats", "e2"),
        ),
        (History(LINE, [*WELL, asked(9, 4)]), ("repeats", "e9")),
        (History(LINE, [*WELL[:2], replace(asked(2, 2), number=3)]), ("repeats", "e2")),
        (History(LINE, [*WELL[:2], asked(2, 2, 422), asked(2, 3, 422)], [REFUSED]), ("repeats", "e2")),
        (History(LINE, WELL[:2], [REFUSED]), ("dead letters", "e2")),
        (
            History(LINE, [*WELL[:2], asked(2, 2, 422)], [replace(REFUSED, attempts=0)]),
            ("dead letters", "e2"),
        ),
        (
            History(LINE, [*WELL[:2], asked(2, 2, 422)], [replace(REFUSED, reason="mapping")]),
            ("dead letters", "e2"),
        ),
        (History(LINE, WELL[:2], [REMOVED], removable=["e1"]), ("dead letters", "e2")),
        (History(LINE, WELL, [REMOVED], removable=["e2"]), ("delivered", "e2")),
        (History(LINE, WELL, [REMOVED], [KILLED_MUCH_LATER], removable=["e2"]), ("delivered", "e2")),
        (History(LINE, WELL, [Letter("e9", "rejected", 1)]), ("dead letters", "e9")),
        (History(LINE, WELL, silences=[Silence(ROUTE, 1.5, 2.5)]), ("silence", "e2")),
        (
            History(
                [*LINE, published(4, "g", OTHER, 1.5)],
                [*WELL, asked(4, 3)],
                troubles=[Trouble(ROUTE, 1, 2, 3)],
            ),
            ("neighbours", "e4"),
        ),
    ],
)
def test_what_is_wrong_is_seen(history: History, violation: tuple[str, str] | None) -> None:
    found = [(one.invariant, one.id) for one in violations(history)]
    assert set(found) == ({violation} if violation else set())


def test_a_replay_of_what_blocks_comes_before_what_it_blocked() -> None:
    replayed = replace(LETTER, became="replayed")
    history = History(LINE, [asked(1, 1, 422), *WELL[1:], asked(1, 4)], [replayed])
    assert violations(history) == []
    found = violations(replace(history, blocking=[ROUTE]))
    assert [(one.invariant, one.id) for one in found] == [("order", "e1"), ("order", "e2")]


def test_a_repeat_is_excused_only_by_what_happened_soon_after_the_answer() -> None:
    late = Disturbance("worker", 2.1 + CONFIRM_S + 0.1, 20)
    assert [
        one.invariant for one in violations(History(LINE, [*WELL, asked(2, 21)], disturbances=[late]))
    ] == ["repeats"]
    soon = replace(late, began=2.1 + CONFIRM_S)
    assert violations(History(LINE, [*WELL, asked(2, 21)], disturbances=[soon])) == []


def test_it_says_what_is_wrong_of_which() -> None:
    found = violations(History(LINE, WELL[:2]))
    assert found == [Violation("delivered", "e2", "lost: neither acknowledged nor an open dead letter")]
