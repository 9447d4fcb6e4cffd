"""The demo's live workload: what three companies' maintenance crews write, as transactions of a few changes.

Every change carries its number in the text that the ERP receives (`#17 …`), so that the judge can tell from the
ERP's own log which changes arrived, how often and in what order.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

SAP_TENANT, NETSUITE_TENANT, PLAIN_TENANT = "4711", "4712", "4713"
UNKNOWN_COST_CENTER = "Obsolete workshop"
"""Planted: no row of the crosswalk has it, so the mapping refuses the work order."""
BLOCKED_COST_CENTER = "Closed plant"
"""Planted: the crosswalk knows it, the ERP rejects its code."""
BAD_EMAIL = "not-an-address"
"""Planted: the NetSuite-like ERP rejects a vendor with it."""

_COST_CENTERS = ("Boiler house", "Packing line 2", "Water treatment")
_TEXTS = (
    "Argolla de 5/8\\ con lado plano { PPC.TH.AR2.346 }",
    'Change "seal" on pump; 3,5 mm 🔧',
    "Cambio de aceite — motor nº 7",
    "39.373.782/0019-79 {{ not a template }}",
)
Statement = tuple[sql.Composed, dict[str, Any]]
Transaction = list[Statement]


def insert(table: str, row: dict[str, Any]) -> Statement:
    columns = sql.SQL(", ").join(map(sql.Identifier, row))
    values = sql.SQL(", ").join(map(sql.Placeholder, row))
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, values), row


def update(table: str, row: dict[str, Any]) -> Statement:
    pairs = ((sql.Identifier(column), sql.Placeholder(column)) for column in row if column != "id")
    assignments = sql.SQL(", ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs)
    return sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
        sql.Identifier(table), assignments, sql.Placeholder("id")
    ), row


@dataclass(slots=True)
class Crew:
    """One company's writer: makes the next statement from what it has written so far."""

    tenant: str
    rng: random.Random
    first_id: int
    rows: list[int] = field(default_factory=list)
    number: int = 0

    def numbered_text(self) -> str:
        self.number += 1
        return f"#{self.number} {self.rng.choice(_TEXTS)}"

    def row(self, share_new: float) -> tuple[bool, int]:
        """Whether to make a new row, and its id or that of an old one."""
        if not self.rows or self.rng.random() < share_new:
            self.rows.append(self.first_id + len(self.rows))
            return True, self.rows[-1]
        return False, self.rng.choice(self.rows[-12:])

    def work_order(self) -> Statement:
        new, row_id = self.row(0.35)
        center = self.rng.choices(
            (*_COST_CENTERS, UNKNOWN_COST_CENTER, BLOCKED_COST_CENTER), weights=(30, 30, 30, 1, 1)
        )[0]
        row = {
            "id": row_id,
            "description": self.numbered_text(),
            "costs_center_description": center,
            "id_status_work_order": 1 if new else self.rng.choice((1, 2, 3, 3)),
        }
        if not new:
            return update("work_orders", row)
        folio = {"id_company": self.tenant, "wo_folio": f"WO-{row_id}", "code": f"PUMP {row_id % 7}/A"}
        return insert("work_orders", row | folio)

    def third_party(self) -> Statement:
        new, row_id = self.row(0.3)
        email = BAD_EMAIL if self.rng.random() < 0.02 else f"vendor{row_id}@example.com"
        row = {"id": row_id, "name": self.numbered_text(), "email": email, "city": "Antofagasta"}
        if not new:
            return update("third_parties", row)
        supplier = {"id_company": self.tenant, "code": f"V{row_id}/{row_id % 10}", "id_third_party_type": [3]}
        return insert("third_parties", row | supplier)

    def work_request(self) -> Statement:
        new, row_id = self.row(0.4)
        row = {
            "id": row_id,
            "description": self.numbered_text(),
            "is_urgent": self.rng.choice(("true", "false")),
        }
        if not new:
            return update("work_requests", row)
        return insert("work_requests", row | {"id_company": self.tenant, "code": f"REQ-{row_id}"})


def plan(events: int | None, seed: int) -> Iterator[Transaction]:
    """Transactions of one to four changes of one company each, `events` changes in all (None: without end)."""
    rng = random.Random(seed)  # noqa: S311 — a workload that can be repeated, nothing secret
    makers = _makers(rng)
    left = events
    while left is None or left > 0:
        size = min(rng.choice((1, 1, 1, 2, 4)), 4 if left is None else left)
        make = rng.choice(makers)
        yield [make() for _ in range(size)]
        left = None if left is None else left - size


def _makers(rng: random.Random) -> tuple[Callable[[], Statement], ...]:
    sap, netsuite, plain = (
        Crew(tenant, rng, 1 + 1_000_000 * number)
        for number, tenant in enumerate((SAP_TENANT, NETSUITE_TENANT, PLAIN_TENANT))
    )
    return sap.work_order, sap.work_order, netsuite.third_party, plain.work_request


async def write(dsn: str, transactions: Iterator[Transaction], changes_per_second: float) -> None:
    """Commits the transactions at about this rate; one in twenty is first written and rolled back."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        for number, transaction in enumerate(transactions):
            if number % 20 == 19:
                await _execute(connection, transaction)
                await connection.rollback()
            await _execute(connection, transaction)
            await connection.commit()
            due += len(transaction) / changes_per_second
            await asyncio.sleep(max(0.0, due - loop.time()))


async def _execute(connection: psycopg.AsyncConnection[Any], transaction: Transaction) -> None:
    for statement, values in transaction:
        await connection.execute(statement, values)
