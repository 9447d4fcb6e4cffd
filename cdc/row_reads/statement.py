"""The SQL of a question. Pure.

One statement for many reads of one shape, each with its own order and limit:

    SELECT snapshot, same table?, asked.n, found.here, tenant, columns…
      FROM unnest($3::text[], …) WITH ORDINALITY AS asked(v0, …, n)
      LEFT JOIN LATERAL (SELECT … FROM table WHERE tenant = $2 AND column = asked.v0 … ORDER BY … LIMIT …) AS found ON true
     ORDER BY asked.n, found.place

Names come from the catalogue and are quoted; operators and types are named with their schema, so that no search_path
and nobody's own `=` changes what is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cdc.backfill.read_table import SHAPE, SNAPSHOT, literal
from cdc.row_reads.question import Shape
from cdc.row_reads.readable_table import ReadableTable
from cdc.sql_names import quoted


@dataclass(frozen=True, slots=True)
class Statement:
    """wanted: the row's columns, in order, behind the tenant's."""

    text: str
    parameters: tuple[str, ...]
    wanted: tuple[str, ...]


def statement(
    table: ReadableTable, shape: Shape, tenant: str | None, values: Sequence[tuple[str | None, ...]]
) -> Statement:
    """tenant: None: nobody's. values: for each read the texts of `shape.where`. Raises ReadRefused for a name that is not there."""
    wanted = tuple(table.columns) if shape.columns is None else shape.columns
    parameters: list[str] = [table.shape]
    conditions: list[str] = []
    own = table.tenant
    if own is not None:
        parameters += [tenant] if tenant is not None else []
        whose = "NULL" if tenant is None else "$2"
        conditions.append(f"t.{quoted(own.name)} {own.equals} {whose}::{own.type}")
    asked = _asked(values, parameters)
    for place, (name, listed) in enumerate(shape.where):
        column = table.column(name, "`where` compares")
        # a list comes as the text of an array of texts: each element is cast, so that the index is used all the same
        value = (
            f"ANY (asked.v{place}::pg_catalog.text[]::{column.type}[])"
            if listed
            else f"asked.v{place}::{column.type}"
        )
        conditions.append(f"t.{quoted(name)} {column.equals} {value}")
    columns = [*([own.name] if own is not None else []), *wanted]
    same = SHAPE.replace("@oid@", f"pg_catalog.to_regclass({literal(table.sql_name)})::oid")
    found = ", ".join(f"found.c{place}" for place in range(len(columns)))
    # names are quoted, everything else is a parameter or a number of ours
    text = (
        f"SELECT {SNAPSHOT}, ({same}) = $1, asked.n::text, found.here, {found} FROM {asked} LEFT JOIN LATERAL "  # noqa: S608 - see above
        f"({_rows(table, shape, columns, conditions)}) AS found ON true ORDER BY asked.n, found.place"
    )
    return Statement(text, tuple(parameters), tuple(wanted))


def _asked(values: Sequence[tuple[str | None, ...]], parameters: list[str]) -> str:
    width = len(values[0])
    if not width:
        return f"(SELECT n FROM pg_catalog.generate_series(1, {len(values)}) AS g(n)) AS asked(n)"  # noqa: S608 - a number
    first = len(parameters) + 1
    parameters += [array_text([read[place] for read in values]) for place in range(width)]
    arrays = ", ".join(
        f"pg_catalog.unnest(${number}::pg_catalog.text[])" for number in range(first, first + width)
    )
    names = ", ".join(f"v{place}" for place in range(width))
    return f"ROWS FROM ({arrays}) WITH ORDINALITY AS asked({names}, n)"


def _rows(table: ReadableTable, shape: Shape, columns: Sequence[str], conditions: Sequence[str]) -> str:
    named = {order.column for order in shape.order}
    order = [f"t.{quoted(by.column)}{' DESC' if by.descending else ''}" for by in shape.order]
    order += [f"t.{quoted(name)}" for name in table.key if name not in named]
    by = f"ORDER BY {', '.join(order)}" if order else ""
    listed = ", ".join(f"t.{quoted(name)} AS c{place}" for place, name in enumerate(columns))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        f"SELECT true AS here, pg_catalog.row_number() OVER ({by}) AS place, {listed} FROM {table.sql_name} AS t{where} "  # noqa: S608 - as in statement
        f"{by} LIMIT {shape.limit + 1 if shape.many else 1}"
    )


def array_text(texts: Sequence[str | None]) -> str:
    """As PostgreSQL writes an array of texts."""
    escaped = (
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in texts
    )
    return f"{{{','.join(escaped)}}}"
