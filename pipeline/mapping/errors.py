"""What can be wrong with a mapping: findings when it is compiled, one error when it is rendered."""

from dataclasses import dataclass

from pipeline.mapping.known import Read
from pipeline.yaml_tree import Mark, YamlError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a mapping's text, where it stands and what to write instead."""

    mark: Mark
    message: str
    expression: str = ""

    def __str__(self) -> str:
        written = f" — in `{_short(self.expression)}`" if self.expression else ""
        return f"{self.mark}: {self.message}{written}"

    @classmethod
    def of(cls, error: YamlError) -> "Finding":
        return cls(error.mark, error.message)


class MappingInvalid(Exception):
    """The mapping cannot be used: everything wrong with it at once."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings

    def __reduce__(self) -> tuple[type["MappingInvalid"], tuple[list[Finding]]]:
        return type(self), (self.findings,)


class RenderError(Exception):
    """An event that its mapping cannot render. `class_` is stable, for dead letters and filters.

    Classes: docs/mappings.md, "When a mapping fails".
    """

    def __init__(self, class_: str, message: str, mark: Mark, expression: str = "") -> None:
        written = f" — in `{_short(expression)}`" if expression else ""
        super().__init__(f"{mark}: {message}{written}")
        self.class_ = class_
        self.message = message
        self.mark = mark
        self.file, self.line, self.column = mark.file, mark.line, mark.column
        self.expression = expression

    def __reduce__(self) -> tuple[type["RenderError"], tuple[str, str, Mark, str]]:
        return type(self), (self.class_, self.message, self.mark, self.expression)


class EvaluationError(Exception):
    """An expression has no value. Raised inside expressions, which do not know where they stand."""

    def __init__(self, class_: str, message: str) -> None:
        super().__init__(message)
        self.class_ = class_
        self.message = message


class Missing(EvaluationError):
    """A name, column, element or crosswalk key is not there: what `default` covers."""

    def __init__(self, message: str, class_: str = "missing") -> None:
        super().__init__(class_, message)


class Wanted(Exception):
    """An expression has no value before something is read. Nothing is wrong, so `default` does not cover it."""

    def __init__(self, *reads: Read) -> None:
        super().__init__(reads)
        self.reads = reads


WAIT_FOR = "wait_for"
"""The class of the error by which `wait_for` ends a rendering."""


def invalid_value(message: str) -> EvaluationError:
    """A value that an operator or filter cannot work with."""
    return EvaluationError("value", message)


def limit_passed(message: str) -> EvaluationError:
    """A mapping asks for more than one event may cost."""
    return EvaluationError("limit", message)


def _short(expression: str) -> str:
    flat = " ".join(expression.split())
    return flat if len(flat) <= 200 else flat[:199] + "…"
