"""The judge must see each kind of wrong, or the demo proves nothing."""

import pytest

from bridge.demo.judge import Change, Effect, Verdict, judge
from bridge.demo.workload import BAD_EMAIL, NETSUITE_TENANT


def vendor(number: int, row: int = 1, email: str = "a@example.com") -> Change:
    new = {"id_company": NETSUITE_TENANT, "id": row, "name": f"#{number} Vendor", "email": email}
    return Change("third_parties", "update", None, new)


def effect(number: int) -> Effect:
    return Effect(NETSUITE_TENANT, number)


HISTORY = [vendor(1), vendor(2), vendor(3, row=2), vendor(4, row=2, email=BAD_EMAIL)]
PLANTED = Effect(NETSUITE_TENANT, 4, "rejected")


def test_all_delivered_in_each_rows_order_holds() -> None:
    verdict = judge(HISTORY, [effect(3), effect(1), effect(2)], [PLANTED])
    assert verdict == Verdict(4, 4, 3, 1, 0, 0, 0, 0)
    assert verdict.holds


@pytest.mark.parametrize(
    ("wrong", "effects", "dead"),
    [
        ("lost", [1, 3], [PLANTED]),
        ("lost", [1, 2, 3], []),
        ("doubled", [1, 2, 3, 1], [PLANTED]),
        ("misordered", [2, 1, 3], [PLANTED]),
        ("unplanned", [1, 2, 3, 4], [PLANTED]),
        ("unplanned", [1, 2, 3, 99], [PLANTED]),
        ("unplanned", [1, 2], [PLANTED, Effect(NETSUITE_TENANT, 3, "rejected")]),
        ("unplanned", [1, 2, 3], [Effect(NETSUITE_TENANT, 4, "exhausted")]),
    ],
)
def test_each_kind_of_wrong_is_seen(wrong: str, effects: list[int], dead: list[Effect]) -> None:
    verdict = judge(HISTORY, [effect(number) for number in effects], dead)
    assert getattr(verdict, wrong) == 1
    assert not verdict.holds
