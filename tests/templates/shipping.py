"""A shipped mapping's cases, delivered to the simulated ERP that goes with it: what they read comes from the case."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec

from bridge.cli.demo_erp import mappings_of
from bridge.demo.erp_server import ErpServer
from bridge.demo.simulated_erps import SIMULATED_ERPS
from bridge.shipped_files import shipped
from connectors.protocol import Connector, Rejected
from pipeline.mapping import Mapping
from pipeline.mapping.cases import input_of, lookups_of, read_cases
from pipeline.mapping.compile import compile_stored
from pipeline.mapping.results import Done
from pipeline.mapping.written_cases import Case
from pipeline.tenants.mapping_files import MappingFiles
from tests.templates.attempts import Delivery

MOST_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Shipped:
    """One case of a shipped mapping that sends something. erp: by its name in SIMULATED_ERPS."""

    erp: str
    mapping: str
    case: Case = field(repr=False)

    @property
    def id(self) -> str:
        return f"{self.mapping}: {self.case.name}"

    def compiled(self) -> Mapping:
        file = shipped("templates") / f"{self.mapping}.yaml"
        text = MappingFiles(None, shipped("templates")).read(file)
        return compile_stored(text, text.file, lookups_of(self.case))


@cache
def shipped_cases(erp: str) -> list[Shipped]:
    """Those that expect a request and no answer that is no success."""
    found = []
    for name in mappings_of(SIMULATED_ERPS[erp]):
        file = shipped("templates") / f"{name}.cases.yaml"
        cases = read_cases(file.read_text(), str(file))
        sends = [
            case for case in cases if {"request", "requests"} & case.expected.keys() and not case.facts.unsure
        ]
        found += [Shipped(erp, name, case) for case in sends if case.event.get("op") != "delete"]
    return found


async def delivered(delivery: Delivery) -> Done | None:
    """How it ended, if well and within MOST_ATTEMPTS."""
    for _ in range(MOST_ATTEMPTS):
        ended = await delivery.attempt()
        if isinstance(ended, Done):
            assert not ended.problems
            return ended
        if isinstance(ended, Rejected):
            break
    return None


def delivery_of(shipped: Shipped, connector: Connector) -> Delivery:
    mapping, case = shipped.compiled(), shipped.case
    given = replace(input_of(case, mapping.source.table), delivery_id=f"e/acme/{shipped.mapping}")
    return Delivery(mapping, connector, given, case.facts)


def again(delivery: Delivery) -> Delivery:
    """The same delivery by a worker that does not know whether the last one, which ended, had sent it."""
    looked_up = {step.name for step in delivery.mapping.program.course.steps if step.find is not None}
    return Delivery(delivery.mapping, delivery.connector, delivery.given, delivery.facts, unsure=looked_up)


def kinds(delivery: Delivery) -> list[str]:
    return [type(outcome).__name__ for outcome in delivery.outcomes]


def documents_of(server: ErpServer) -> Any:
    """What the ERP has: to see that a repeat changed nothing."""
    return msgspec.to_builtins(
        {str(place): document for place, document in vars(server)["documents"].items()}
    )
