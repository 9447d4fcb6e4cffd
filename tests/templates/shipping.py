"""A shipped mapping's cases, delivered to the simulated ERP that goes with it: rendered, sent by the real connector, judged.

What a worker does between is written here once more in a few lines: reads come from the case, and an attempt that did
not end well is followed by another one that knows what a worker would.
"""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

import msgspec

from bridge.cli.demo_erp import connection_of, mappings_of
from bridge.demo.erp_server import ErpServer
from bridge.demo.simulated_erps import SIMULATED_ERPS
from bridge.shipped_files import shipped
from connectors.egress import EgressPolicy
from connectors.protocol import ConnectionSettings, Connector, Delivered, Outcome, Rejected, Uncertain
from connectors.registry import open_connector
from pipeline.mapping import Known, Mapping, Rendered, RenderInput
from pipeline.mapping.cases import input_of, lookups_of, read_cases
from pipeline.mapping.compile import compile_stored
from pipeline.mapping.results import Done, Needs
from pipeline.mapping.walk import heard
from pipeline.mapping.written_cases import Case
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.mapping_files import MappingFiles
from pipeline.tenants.model import SECRET_REFERENCE
from pipeline.yaml_tree import load

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
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


def connect(erp: str, server: ErpServer) -> Connector:
    """As a tenant that has pasted what `bridge demo erp` prints."""
    section = load(connection_of(erp, server), "tenant.yaml").as_mapping().get("connections")
    [connection] = read_connections("acme", section).values()
    auth = _with_secrets(connection.auth, SIMULATED_ERPS[erp].secrets)
    settings = ConnectionSettings(
        connection.base_url, auth, timeout_s=5.0, options=connection.options, egress=LOOPBACK
    )
    return open_connector(connection.connector, settings)


def _with_secrets(value: Any, secrets: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_secrets(one, secrets) for name, one in value.items()}
    found = SECRET_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return secrets[found[1]] if found else value


@dataclass
class Delivery:
    """One delivery of a case's event. outcomes: of every request, in order; saved: what it left for others."""

    shipped: Shipped
    connector: Connector
    outcomes: list[Outcome] = field(default_factory=list)
    saved: dict[str, Any] = field(default_factory=dict)
    _answers: dict[str, Any] = field(default_factory=dict)
    _unsure: frozenset[str] = frozenset()

    async def run(self) -> bool:
        """Whether it ended well, within MOST_ATTEMPTS."""
        mapping = self.shipped.compiled()
        for _ in range(MOST_ATTEMPTS):
            outcome = await self._attempt(mapping)
            if isinstance(outcome, Delivered | Rejected):
                return isinstance(outcome, Delivered)
        return False

    async def _attempt(self, mapping: Mapping) -> Outcome:
        given = replace(
            input_of(self.shipped.case, mapping.source.table), delivery_id=f"e/acme/{self.shipped.mapping}"
        )
        known = Known(answers=dict(self._answers), unsure=self._unsure)
        while True:
            given = replace(given, known=known)
            result = mapping.render(given)
            if isinstance(result, Needs):
                known = self.shipped.case.facts.learn(known, result.reads)
                continue
            if isinstance(result, Done):
                self.saved = result.save
                assert not result.problems
                return Delivered(None)
            assert isinstance(result, Rendered), result
            outcome = await self._send(mapping, given, result)
            if not isinstance(outcome, Delivered):
                return outcome
            if result.last:
                return outcome
            assert outcome.answer is not None
            known = heard(known, result, outcome.answer)
            if result.kind == "request" and not result.reads:
                self._answers[result.step] = outcome.answer

    async def _send(self, mapping: Mapping, given: RenderInput, request: Rendered) -> Outcome:
        prepared = self.connector.prepare(request.request, request.delivery_id)
        outcome = mapping.classify(await self.connector.send(prepared), given, request)
        self.outcomes.append(outcome)
        if isinstance(outcome, Uncertain):
            assert request.safe, f"{request.step}: nobody may send it again"
            if request.repeat == "find" and request.kind == "request":
                self._unsure |= {request.step}
        return outcome


def again(delivery: Delivery) -> Delivery:
    """The same delivery by a worker that does not know whether the last one, which ended, had sent it."""
    mapping = delivery.shipped.compiled()
    steps = {step.name for step in mapping.program.course.steps if step.find is not None}
    return Delivery(delivery.shipped, delivery.connector, _unsure=frozenset(steps))


def kinds(delivery: Delivery) -> list[str]:
    return [type(outcome).__name__ for outcome in delivery.outcomes]


def documents_of(server: ErpServer) -> Any:
    """What the ERP has: to see that a repeat changed nothing."""
    return msgspec.to_builtins(
        {str(place): document for place, document in vars(server)["documents"].items()}
    )
