"""A JSON Schema that payloads must fulfil (json-schema.org; draft 2020-12 unless `$schema` says otherwise).

Numbers are int or Decimal on both sides. `format` is a remark, as the specification has it, and checks nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jsonschema import TypeChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from eventbus.event import EventInvalid, decode_json

_extend: Any = extend  # its stub has no types


class SchemaInvalid(ValueError):
    """The file is no JSON Schema that we can use: says why, and where in it."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Where a payload does not fulfil the schema (a JSON pointer, "" for all of it), and by which of its keywords.

    message: in the library's words, with the value in them.
    """

    path: str
    keyword: str
    message: str = field(default="", compare=False)


class PayloadSchema:
    """A schema, ready to be asked."""

    def __init__(self, text: bytes) -> None:
        """Raises SchemaInvalid."""
        try:
            schema = decode_json(text)
        except EventInvalid as error:
            raise SchemaInvalid(str(error)) from None
        if not isinstance(schema, dict):
            raise SchemaInvalid("a schema is a JSON object")
        if not isinstance(schema.get("$schema", ""), str):
            raise SchemaInvalid("at /$schema: a text, as in " + DRAFT202012_ID)
        kind = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise SchemaInvalid(f"at {_pointer(error) or 'its root'}: {error.message}") from None
        _check_references(schema)
        checker: Any = kind.TYPE_CHECKER
        own: Any = _extend(kind, type_checker=checker.redefine("integer", _is_integer))
        # an empty registry fetches nothing from anywhere
        self._validator: Validator = own(schema, registry=Registry())

    def complaint(self, payload: Any) -> Complaint | None:
        """The first one; None where the payload fulfils the schema."""
        try:
            error = next(self._validator.iter_errors(payload), None)
        except ArithmeticError:  # `multipleOf` of 1e1000000, of which no remainder can be told
            return Complaint("", "multipleOf")
        except (
            RecursionError
        ):  # nothing fulfils what asks for itself, at the same place, before anything else
            return Complaint(
                "", "$ref", "the schema refers to itself without an end, or the payload is too deep for it"
            )
        return None if error is None else Complaint(_pointer(error), str(error.validator), error.message)


def _is_integer(_checker: TypeChecker, value: object) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _pointer(error: ValidationError | SchemaError) -> str:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
    return "".join(f"/{step}" for step in steps)


def _check_references(schema: dict[str, Any]) -> None:
    """Each leads somewhere within the schema: a payload must not be the first to find out."""
    dialect = specification_with(str(schema.get("$schema", DRAFT202012_ID)), default=DRAFT202012)
    resource = dialect.create_resource(schema)
    resolver = Registry().with_resource(resource.id() or "", resource).resolver(resource.id() or "")
    for keyword, reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise SchemaInvalid(
                f"{keyword} {reference!r} leads nowhere within the file; nothing is fetched"
            ) from None


DRAFT202012_ID = "https://json-schema.org/draft/2020-12/schema"


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for keyword in ("$ref", "$dynamicRef"):
            if isinstance(reference := value.get(keyword), str):
                yield keyword, reference
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for element in value:
            yield from _references(element)
