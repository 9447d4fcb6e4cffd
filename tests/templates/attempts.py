"""A shipped mapping on its way to a simulated ERP, through the real connector: rendered, sent and judged as a worker does."""

from collections.abc import Mapping as Members
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from bridge.cli.demo_erp import connection_of
from bridge.demo.erp_server import ErpServer
from bridge.demo.simulated_erps import SIMULATED_ERPS
from bridge.shipped_files import shipped
from connectors.egress import EgressPolicy
from connectors.protocol import Answer, ConnectionSettings, Connector, Delivered, Outcome, Uncertain
from connectors.registry import open_connector
from pipeline.mapping import Done, Lookup, Mapping, Rendered, RenderInput, Skipped, Waits, parse_lookup
from pipeline.mapping.case_facts import Facts
from pipeline.mapping.compile import compile_mapping
from pipeline.mapping.known import Known
from pipeline.mapping.results import Needs
from pipeline.mapping.walk import heard
from pipeline.tenants.connection_reader import read_connections
from pipeline.tenants.model import SECRET_REFERENCE
from pipeline.yaml_tree import load

LOOPBACK = EgressPolicy((ip_network("127.0.0.0/8"),))
Ended = Outcome | Done | Skipped | Waits


def connect(name: str, server: ErpServer) -> Connector:
    """A connection as `bridge demo erp NAME` prints it, with its secrets."""
    section = load(connection_of(name, server), "tenant.yaml").as_mapping().get("connections")
    [connection] = read_connections("acme", section).values()
    auth = _resolved(dict(connection.auth), SIMULATED_ERPS[name].secrets)
    settings = ConnectionSettings(
        connection.base_url, auth, timeout_s=5.0, egress=LOOPBACK, options=connection.options
    )
    return open_connector(connection.connector, settings)


def _resolved(value: Any, secrets: Members[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(each, secrets) for key, each in value.items()}
    found = SECRET_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return secrets[found[1]] if found else value


def mapping(name: str, lookups: Members[str, str]) -> Mapping:
    """lookups: CSV texts by name."""
    tables: dict[str, Lookup] = {table: parse_lookup(text, table, table) for table, text in lookups.items()}
    text = (shipped("templates") / f"{name}.yaml").read_text()
    return compile_mapping(text, file=name, name=name, lookups=tables)


def change(number: int, table: str, after: Members[str, Any], **more: Any) -> dict[str, Any]:
    """An insert with an id of its own."""
    schema, _, name = table.partition(".")
    return {
        "v": 1,
        "id": f"fracttal:0/16B3748:{number}",
        "op": "insert",
        "tenant": "4711",
        "source": {"schema": schema, "table": name, "commit_ts": "2026-11-24T13:28:19.832462Z"},
        "key": {"id": after["id"]},
        "before": None,
        "after": dict(after),
    } | more


def given(event: dict[str, Any], params: dict[str, Any] | None = None) -> RenderInput:
    """The event, as it comes to a route of acme's."""
    return RenderInput(event, "acme", "route", params or {}, f"{event['id']}/acme/route", "America/Bogota")


@dataclass
class Delivery:
    """One delivery of an event, attempt after attempt. unsure: the steps whose request may have arrived.

    outcomes: of every request, in order.
    """

    mapping: Mapping
    connector: Connector
    given: RenderInput
    facts: Facts = field(default_factory=Facts)
    answers: dict[str, Answer] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)

    async def attempt(self) -> Ended:
        """Until it is done, or something stands in its way."""
        known = Known(answers=dict(self.answers), unsure=frozenset(self.unsure))
        while True:
            given = replace(self.given, known=known)
            result = self.mapping.render(given)
            if isinstance(result, Needs):
                known = self.facts.learn(known, result.reads)
                continue
            if not isinstance(result, Rendered):
                return result
            outcome = await self._sent(result, given)
            if not isinstance(outcome, Delivered):
                return outcome
            assert outcome.answer is not None
            known = heard(known, result, outcome.answer)
            if result.kind == "request" and not result.reads:
                self.answers[result.step] = outcome.answer

    async def _sent(self, rendered: Rendered, given: RenderInput) -> Outcome:
        prepared = self.connector.prepare(rendered.request, rendered.delivery_id or given.delivery_id)
        outcome = self.mapping.classify(await self.connector.send(prepared), given, rendered)
        self.outcomes.append(outcome)
        if isinstance(outcome, Uncertain) and rendered.kind == "request":
            assert rendered.safe, f"{rendered.step}: nobody would dare to send it again"
            self.unsure.add(rendered.step)
        return outcome

    def forgotten(self) -> "Delivery":
        """As after a crash that came before anything could be noted: every request may have arrived."""
        return replace(self, answers={}, unsure={*self.answers, *self.unsure}, outcomes=[])
