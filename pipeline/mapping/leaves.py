"""Leaves: one expression that keeps its value, a longer text, or a literal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jinja2 import nodes

from pipeline.mapping.errors import EvaluationError, Finding, RenderError
from pipeline.mapping.expressions import Compiler, Evaluator
from pipeline.mapping.filters import Toolbox
from pipeline.mapping.scope import Scope
from pipeline.mapping.syntax import SyntaxInvalid, is_template, parse_expression, parse_template
from pipeline.mapping.values import Frame, Value, bounded_text, kind_of, text_of
from pipeline.yaml_tree import Entry, Mark, ScalarNode

Write: TypeAlias = Callable[[Frame, list[str]], None]
AsText: TypeAlias = Callable[[Value], str]

MAX_LOOP = 10_000
_REFUSED = {
    "Import": "import",
    "FromImport": "from … import",
    "Include": "include",
    "Extends": "extends",
    "Macro": "macro",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "Block": "block",
    "AssignBlock": "set … endset",
    "With": "with",
}


@dataclass(slots=True)
class Reader:
    """Compiles the leaves and conditions of one mapping, collecting what is wrong with them."""

    scope: Scope
    toolbox: Toolbox
    findings: list[Finding]

    def condition_of(self, entry: Entry, key: str) -> Evaluator:
        """The condition that stands under a key; `key` is how errors call it."""
        node = entry.value
        if isinstance(node, ScalarNode) and not node.is_null:
            return self.condition(node)
        if node.is_null:
            self.refuse(entry.mark, f"{key} is empty; write a condition, or remove the key")
        else:
            self.refuse(node.mark, f"{key} takes a condition, not {node.describe()}")
        return lambda _frame: False

    def condition(self, node: ScalarNode) -> Evaluator:
        """A bare expression that has to give true or false."""
        if isinstance(node.value, bool):
            return _constant(node.value)
        text = node.text.strip()
        evaluate = self._compiled(node, text, lambda compiler: compiler.compile(parse_expression(text)))
        mark = node.mark

        def strict(frame: Frame) -> bool:
            value = evaluate(frame)
            if value is True or value is False:
                return value
            raise RenderError(
                "not_boolean",
                f"the condition gives {kind_of(value)}, not true or false; compare it: … is not none, … == …, … | length > 0",
                mark,
                text,
            )

        return strict

    def expression(self, node: ScalarNode, text: str) -> Evaluator:
        """A bare expression of any value."""
        return self._compiled(node, text, lambda compiler: compiler.compile(parse_expression(text)))

    def leaf(self, node: ScalarNode) -> Evaluator:
        """A value of the tree."""
        if not isinstance(node.value, str) or not is_template(node.text):
            return _constant(node.value.strip() if isinstance(node.value, str) else node.value)
        text = node.text.strip()
        return self._compiled(node, text, lambda compiler: _leaf(text, compiler))

    def text(self, node: ScalarNode, as_text: AsText = text_of) -> Evaluator:
        """A text whatever the leaf is; `as_text` writes each value into it."""
        if not is_template(node.text):
            return _constant(None if node.value is None else node.text.strip())
        text = node.text.strip()
        return self._compiled(node, text, lambda compiler: _text(parse_template(text), compiler, as_text))

    def refuse(self, mark: Mark, message: str, expression: str = "") -> None:
        self.findings.append(Finding(mark, message, expression))

    def _compiled(self, node: ScalarNode, text: str, build: Callable[[Compiler], Evaluator]) -> Evaluator:
        names = set(self.scope.names)
        try:
            return _located(build(Compiler(self.scope, self.toolbox)), node.mark, text)
        except SyntaxInvalid as error:
            self.refuse(node.mark, str(error), text)
            return _constant(None)
        finally:
            self.scope.names = names


def _constant(value: Value) -> Evaluator:
    return lambda _frame: value


def _located(evaluate: Evaluator, mark: Mark, text: str) -> Evaluator:
    def located(frame: Frame) -> Value:
        try:
            return evaluate(frame)
        except EvaluationError as error:
            raise RenderError(error.class_, error.message, mark, text) from None
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            message = f"cannot be evaluated ({type(error).__name__}: {str(error)[:200]}); check the values it works on"
            raise RenderError("value", message, mark, text) from None

    return located


def _leaf(text: str, compiler: Compiler) -> Evaluator:
    parts = parse_template(text)
    if len(parts) == 1 and isinstance(output := parts[0], nodes.Output) and len(output.nodes) == 1:
        only = output.nodes[0]
        if not isinstance(only, nodes.TemplateData):
            return compiler.compile(only)
    return _text(parts, compiler, text_of)


def _text(parts: list[nodes.Node], compiler: Compiler, as_text: AsText) -> Evaluator:
    write = _TextCompiler(compiler, as_text).block(parts)

    def evaluate(frame: Frame) -> str:
        written: list[str] = []
        write(dict(frame), written)
        return bounded_text("".join(written))

    return evaluate


class _TextCompiler:
    """Texts with values, `{% if %}`, `{% for %}` and `{% set %}` in them."""

    def __init__(self, compiler: Compiler, as_text: AsText) -> None:
        self._compiler = compiler
        self._as_text = as_text

    def block(self, parts: list[nodes.Node]) -> Write:
        writers = [writer for part in parts for writer in self._part(part)]
        if len(writers) == 1:
            return writers[0]

        def write(frame: Frame, written: list[str]) -> None:
            for writer in writers:
                writer(frame, written)

        return write

    def _part(self, part: nodes.Node) -> list[Write]:
        match part:
            case nodes.Output():
                return [self._output(node) for node in part.nodes]
            case nodes.If():
                return [self._if(part)]
            case nodes.For():
                return [self._for(part)]
            case nodes.Assign(target=nodes.Name()):
                return [self._set(part)]
        name = _REFUSED.get(type(part).__name__, type(part).__name__.lower())
        raise SyntaxInvalid(f"{{% {name} %}} is not part of the language; there are if, for and set")

    def _output(self, node: nodes.Node) -> Write:
        if isinstance(node, nodes.TemplateData):
            data = node.data
            return lambda _frame, written: written.append(data)
        evaluate, as_text = self._compiler.compile(node), self._as_text
        return lambda frame, written: written.append(as_text(evaluate(frame)))

    def _if(self, node: nodes.If) -> Write:
        branches = [(self._compiler.compile(node.test), self.block(node.body))]
        branches += [(self._compiler.compile(other.test), self.block(other.body)) for other in node.elif_]
        otherwise = self.block(node.else_)

        def write(frame: Frame, written: list[str]) -> None:
            for test, body in branches:
                if test(frame):
                    return body(frame, written)
            return otherwise(frame, written)

        return write

    def _for(self, node: nodes.For) -> Write:
        if not isinstance(node.target, nodes.Name) or node.test or node.else_ or node.recursive:
            raise SyntaxInvalid(
                "write {% for x in … %}…{% endfor %}, without else, if or recursive; filter with | select"
            )
        name, iterate = node.target.name, self._compiler.compile(node.iter)
        with self._compiler.scope.inside(name, "loop"):
            body = self.block(node.body)

        def write(frame: Frame, written: list[str]) -> None:
            values = elements_of(iterate(frame), frame)
            for index, value in enumerate(values):
                turn: list[str] = []
                body({**frame, name: value, "loop": loop(index, len(values))}, turn)
                frame[MEASURE].take(text := "".join(turn))
                written.append(text)

        return write

    def _set(self, node: nodes.Assign) -> Write:
        assert isinstance(node.target, nodes.Name)
        name, evaluate = node.target.name, self._compiler.compile(node.node)
        scope = self._compiler.scope
        if name in scope.names and name not in scope.assigned:
            raise SyntaxInvalid(f"{name!r} already means something here; choose another name")
        scope.names.add(name)
        scope.assigned.add(name)

        def write(frame: Frame, _written: list[str]) -> None:
            frame[name] = evaluate(frame)

        return write


BUDGET = "\0iterations"
"""The frame's name for how many loop turns are left to this event."""
MEASURE = "\0measure"
"""The frame's name for how much the loops of this event may still give."""


def elements_of(value: Value, frame: Frame) -> list[Value]:
    """What a loop goes over: a list, within the bounds.

    Raises:
        EvaluationError: no list, or too many turns.
    """
    if not isinstance(value, list):
        hint = "write … | items" if isinstance(value, dict) else "write … | default([]) where it may be null"
        raise EvaluationError("value", f"a loop goes over a list, not over {kind_of(value)}; {hint}")
    left: list[int] = frame[BUDGET]
    left[0] -= len(value)
    if len(value) > MAX_LOOP or left[0] < 0:
        raise EvaluationError("limit", f"loops of more than {MAX_LOOP} turns, or too many in all")
    return value


def loop(index: int, length: int) -> dict[str, Value]:
    """What `loop` stands for in one turn."""
    return {
        "index": index + 1,
        "index0": index,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
    }
