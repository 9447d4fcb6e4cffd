"""What every connector kind must do, ours and other people's, shown on its simulated ERP. How to use it: docs/connectors.md.

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    async def test_it_conforms(check: Check) -> None:
        await check(KIND)

It needs no test framework: a check is awaited, and raises NotConforming (an AssertionError) that says what should be.
"""

from bridge.conformance import answers, credentials, endings, limits, requests, sizes
from bridge.conformance.check import Check, NotConforming
from bridge.conformance.kind import KEY, PASSWORD, Kind, Said, Simulator

__all__ = ["CHECKS", "KEY", "PASSWORD", "Check", "Kind", "NotConforming", "Said", "Simulator"]

CHECKS: tuple[Check, ...] = tuple(
    each
    for module in (requests, answers, endings, limits, sizes, credentials)
    for each in vars(module).values()
    if isinstance(each, Check)
)
"""All of them, the cheap ones first."""
