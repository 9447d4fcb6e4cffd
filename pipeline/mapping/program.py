"""A mapping's expressions, in the order in which they are evaluated."""

from dataclasses import dataclass

from pipeline.mapping.enrichment import Enrichment
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.requirement import Requirement
from pipeline.mapping.response import Rules
from pipeline.mapping.steps import Course
from pipeline.mapping.values import Value


@dataclass(frozen=True, slots=True)
class Program:
    """defaults: of the params. needs_uuid: something names `delivery.uuid`. columns: of `after`, those that are named;
    None: any may be.
    """

    ordering: Evaluator | None
    when: Evaluator | None
    enrich: tuple[Enrichment, ...]
    vars: tuple[tuple[str, Evaluator], ...]
    skip_if: Evaluator | None
    require: Requirement | None
    course: Course
    response: Rules
    defaults: dict[str, Value]
    needs_uuid: bool
    columns: frozenset[str] | None
