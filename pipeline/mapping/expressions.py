"""Compile Jinja's syntax tree into closures over a frame of names.

Only what is listed here exists: an expression cannot reach a Python object, call anything but the functions
below, or build a value beyond the bounds of `values`.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from jinja2 import nodes

from pipeline.mapping import arithmetic
from pipeline.mapping.access import absent, member, part, whole_row
from pipeline.mapping.changes import became, changed
from pipeline.mapping.errors import Missing, invalid_value, limit_passed
from pipeline.mapping.filters import Toolbox
from pipeline.mapping.predicates import predicate
from pipeline.mapping.saved import saved, wait_for, wait_until
from pipeline.mapping.scope import FUNCTIONS, Scope
from pipeline.mapping.syntax import SyntaxInvalid
from pipeline.mapping.values import OMIT, Frame, Value, bounded_text, equal, text_of
from pipeline.yaml_tree import nearest

Evaluator: TypeAlias = Callable[[Frame], Value]

MAX_DEPTH = 60
MAX_RANGE = 10_000

_BINARY: dict[type[nodes.Expr], Callable[[Value, Value], Value]] = {
    nodes.Add: arithmetic.add,
    nodes.Sub: arithmetic.subtract,
    nodes.Mul: arithmetic.multiply,
    nodes.Div: arithmetic.divide,
    nodes.FloorDiv: arithmetic.floor_divide,
    nodes.Mod: arithmetic.modulo,
    nodes.Pow: arithmetic.power,
}
_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "in": arithmetic.contains,
    "notin": lambda left, right: not arithmetic.contains(left, right),
    **{sign: partial(arithmetic.compare, sign) for sign in ("lt", "lteq", "gt", "gteq")},
}


_SIGNATURES = {
    "changed": ((1,), "changed('column')"),
    "became": ((2,), "became('column', value)"),
    "range": ((1, 2), "range(n) or range(from, to)"),
    "saved": ((3,), "saved('route', key, 'name')"),
    "wait_for": ((1, 3), "wait_for('route', key, 'name'), or wait_for(value), which waits while it is null"),
}
"""How many arguments a function takes, and how it is written."""
_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "changed": changed,
    "became": became,
    "saved": saved,
    "wait_for": wait_for,
}


class Compiler:
    """Turns expressions into closures; `scope` says which names there are, `toolbox` which filters."""

    def __init__(self, scope: Scope, toolbox: Toolbox) -> None:
        self.scope = scope
        self._toolbox = toolbox
        self._depth = 0

    def compile(self, node: nodes.Node) -> Evaluator:
        """The closure that gives the expression's value.

        Raises:
            SyntaxInvalid: the expression uses what the language does not have.
        """
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise SyntaxInvalid("nested too deeply; compute parts of it in vars")
            return self._compile(node)
        finally:
            self._depth -= 1

    def _compile(self, node: nodes.Node) -> Evaluator:  # noqa: C901, PLR0912 — one branch for each kind of node
        match node:
            case nodes.Const() | nodes.TemplateData():
                return _constant(node.value if isinstance(node, nodes.Const) else node.data)
            case nodes.Name():
                return self._name(node)
            case nodes.Getattr() | nodes.Getitem():
                return self._access(node)
            case nodes.Filter():
                return self._filter(node)
            case nodes.Test():
                return self._test(node)
            case nodes.Call():
                return self._call(node)
            case nodes.Compare():
                return self._compare(node)
            case nodes.And() | nodes.Or():
                return self._logic(node)
            case nodes.Not():
                inner = self.compile(node.node)
                return lambda frame: not inner(frame)
            case nodes.Neg():
                inner = self.compile(node.node)
                return lambda frame: arithmetic.negate(inner(frame))
            case nodes.Pos():
                return self.compile(node.node)
            case nodes.Concat():
                return self._concat(node)
            case nodes.CondExpr():
                return self._choice(node)
            case nodes.List() | nodes.Tuple():
                return self._list(node)
            case nodes.Dict():
                return self._object(node)
            case nodes.BinExpr():
                operation = _BINARY[type(node)]
                left, right = self.compile(node.left), self.compile(node.right)
                return lambda frame: operation(left(frame), right(frame))
        raise SyntaxInvalid(f"{type(node).__name__} is not part of the language")

    def _name(self, node: nodes.Name) -> Evaluator:
        evaluate = self._subject(node)
        self.scope.used.add(f"{node.name}.*")
        if node.name in ("after", "before"):
            return lambda frame: (
                whole_row(evaluate(frame), frame) if node.name == "after" else evaluate(frame)
            )
        return evaluate

    def _subject(self, node: nodes.Node) -> Evaluator:
        """What something is asked of: a row is not used as a whole there."""
        if not isinstance(node, nodes.Name):
            return self.compile(node)
        name = node.name
        if name == "null":
            return _constant(None)
        self.scope.use(name)
        if name == "omit":
            return _constant(OMIT)
        if name in self.scope.assigned:
            return lambda frame: _assigned(frame, name)
        return lambda frame: frame[name]

    def _access(self, node: nodes.Getattr | nodes.Getitem) -> Evaluator:
        inner, spelling = self._subject(node.node), spell(node.node)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            return self._slice(inner, node.arg)
        name = node.attr if isinstance(node, nodes.Getattr) else _constant_text(node.arg)
        if name is None:
            assert isinstance(node, nodes.Getitem)
            argument = self.compile(node.arg)
            self.scope.used.add(f"{spelling}.*")
            return lambda frame: member(inner(frame), argument(frame), spelling, frame)
        if isinstance(node.node, nodes.Name):
            self.scope.use_member(node.node.name, name)
        if spelling == "event" and name == "after":
            return lambda frame: whole_row(frame["after"], frame)
        return _reader(inner, name, spelling)

    def _slice(self, inner: Evaluator, bounds: nodes.Slice) -> Evaluator:
        start, stop, step = (
            _constant(None) if bound is None else self.compile(bound)
            for bound in (bounds.start, bounds.stop, bounds.step)
        )
        return lambda frame: part(inner(frame), start(frame), stop(frame), step(frame))

    def _filter(self, node: nodes.Filter) -> Evaluator:
        if node.node is None:
            raise SyntaxInvalid("filter blocks are not part of the language; write … | filter")
        arguments, named = self._arguments(node)
        apply = self._toolbox.applier(node.name, arguments, named)
        if node.name in ("default", "d"):
            return self._default(node, apply)
        inner = self.compile(node.node)
        return lambda frame: apply(inner(frame), frame)

    def _default(self, node: nodes.Filter, apply: Callable[[Value, Frame], Value]) -> Evaluator:
        assert node.node is not None
        inner = self.compile(node.node)

        def evaluate(frame: Frame) -> Value:
            try:
                value = inner(frame)
            except Missing:
                value = None
            return apply(value, frame)

        return evaluate

    def _arguments(
        self, node: nodes.Filter | nodes.Test | nodes.Call
    ) -> tuple[list[Evaluator], dict[str, Evaluator]]:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise SyntaxInvalid("*arguments and **arguments are not part of the language; write each one out")
        return [self.compile(argument) for argument in node.args], {
            str(pair.key): self.compile(pair.value) for pair in node.kwargs
        }

    def _test(self, node: nodes.Test) -> Evaluator:
        inner = self._subject(node.node)
        arguments, named = self._arguments(node)
        if named:
            raise SyntaxInvalid(f"`is {node.name}` takes no named argument")
        if node.name in ("defined", "undefined"):
            wanted = node.name == "defined"
            return lambda frame: _is_there(inner, frame) is wanted
        test = predicate(node.name, len(arguments))
        if not arguments:
            return lambda frame: test(inner(frame))
        return lambda frame: test(inner(frame), *[argument(frame) for argument in arguments])

    def _call(self, node: nodes.Call) -> Evaluator:
        if not isinstance(node.node, nodes.Name) or node.node.name not in FUNCTIONS:
            raise SyntaxInvalid(self._not_callable(node.node))
        name = node.node.name
        arguments, named = self._arguments(node)
        counts, signature = _SIGNATURES[name]
        if named or len(arguments) not in counts:
            raise SyntaxInvalid(f"write {signature}")
        if name in ("changed", "became") and (column := _constant_text(node.args[0])) is not None:
            self.scope.compared.add(column)
        if name == "range":
            return lambda frame: _range(*[argument(frame) for argument in arguments])
        if name == "wait_for" and len(arguments) == 1:
            return lambda frame: wait_until(arguments[0](frame))
        if name in ("saved", "wait_for") and (route := _constant_text(node.args[0])) is not None:
            self.scope.routes_read.add(route)
        function = _FUNCTIONS[name]
        return lambda frame: function(frame, *[argument(frame) for argument in arguments])

    def _not_callable(self, node: nodes.Node) -> str:
        if isinstance(node, nodes.Getattr):
            if node.attr in self._toolbox:
                return f"methods cannot be called; write {spell(node.node)} | {node.attr}"
            return f"methods such as .{node.attr}() cannot be called; use a filter: … | filter"
        name = node.name if isinstance(node, nodes.Name) else "this"
        hint = f"; write … | {name}" if name in self._toolbox else nearest(name, FUNCTIONS)
        return f"{name!r} is not a function{hint}"

    def _compare(self, node: nodes.Compare) -> Evaluator:
        first = self._subject(node.expr) if _with_null(node) else self.compile(node.expr)
        steps = [(_COMPARISONS[operand.op], self.compile(operand.expr)) for operand in node.ops]
        if len(steps) == 1:
            compare, right = steps[0]
            return lambda frame: compare(first(frame), right(frame))

        def chain(frame: Frame) -> bool:
            left = first(frame)
            for compare, evaluate in steps:
                right = evaluate(frame)
                if not compare(left, right):
                    return False
                left = right
            return True

        return chain

    def _logic(self, node: nodes.And | nodes.Or) -> Evaluator:
        left, right = self.compile(node.left), self.compile(node.right)
        if isinstance(node, nodes.And):
            return lambda frame: left(frame) and right(frame)
        return lambda frame: left(frame) or right(frame)

    def _concat(self, node: nodes.Concat) -> Evaluator:
        parts = [self.compile(inner) for inner in node.nodes]
        return lambda frame: bounded_text("".join([text_of(inner(frame)) for inner in parts]))

    def _choice(self, node: nodes.CondExpr) -> Evaluator:
        test, then = self.compile(node.test), self.compile(node.expr1)
        if node.expr2 is None:
            raise SyntaxInvalid("`a if b` needs an else: write `a if b else null` or `a if b else omit`")
        otherwise = self.compile(node.expr2)
        return lambda frame: then(frame) if test(frame) else otherwise(frame)

    def _list(self, node: nodes.List | nodes.Tuple) -> Evaluator:
        elements = [self.compile(inner) for inner in node.items]
        return lambda frame: [value for inner in elements if (value := inner(frame)) is not OMIT]

    def _object(self, node: nodes.Dict) -> Evaluator:
        pairs = [(self.compile(pair.key), self.compile(pair.value)) for pair in node.items]

        def evaluate(frame: Frame) -> dict[str, Value]:
            members = [(text_of(key(frame)), value(frame)) for key, value in pairs]
            return {key: value for key, value in members if value is not OMIT}

        return evaluate


def spell(node: nodes.Node) -> str:
    """An expression as it was written, as far as errors need it."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{spell(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const() as index):
            return f"{spell(node.node)}[{index.value!r}]"
        case nodes.Filter():
            return f"the result of {node.name}"
    return "this"


def _assigned(frame: Frame, name: str) -> Value:
    if name not in frame:
        raise Missing(f"{name!r} was not set: its {{% set %}} stands in a branch that was not taken")
    return frame[name]


def _constant(value: Value) -> Evaluator:
    return lambda _frame: value


def _constant_text(node: nodes.Node) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


def _reader(inner: Evaluator, name: str, spelling: str) -> Evaluator:
    def read(frame: Frame) -> Value:
        value = inner(frame)
        try:
            return value[name]
        except (KeyError, TypeError):
            raise absent(value, name, spelling, frame) from None

    return read


def _is_there(inner: Evaluator, frame: Frame) -> bool:
    try:
        inner(frame)
    except Missing:
        return False
    return True


def _with_null(node: nodes.Compare) -> bool:
    return all(
        isinstance(operand.expr, nodes.Const | nodes.Name)
        and getattr(operand.expr, "value", getattr(operand.expr, "name", "")) in (None, "null")
        for operand in node.ops
    )


def _range(*bounds: Value) -> Value:
    if any(type(bound) is not int for bound in bounds):
        raise invalid_value("range takes whole numbers")
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise limit_passed(f"range gives more than {MAX_RANGE} numbers")
    return list(numbers)
