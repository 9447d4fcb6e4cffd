"""What is not wrong with a mapping, but probably not meant."""

import re
from collections.abc import Iterator

from jinja2 import nodes

from pipeline.mapping.errors import Finding
from pipeline.mapping.scope import Scope
from pipeline.mapping.structure import RESERVED
from pipeline.mapping.syntax import SyntaxInvalid, is_template, parse_expression, parse_template
from pipeline.yaml_tree import MappingNode, Mark, Node, ScalarNode, SequenceNode, nearest

_ODATA = ("$format", "$filter", "$value", "$levels", "$ref", "$search", "$skip", "$select")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_LOOKS_BARE = re.compile(r"(after|before|key|params|vars|event|delivery)\.[A-Za-z_]\w*(\.\w+|\s*\|.*)*")
_FIRST_SUCCESS, _LAST_SUCCESS = 200, 299
_BARE = ("$for", "$if", "when", "require", "found")
"""Below these keys an expression stands without braces."""


def warnings_of(root: MappingNode, scope: Scope) -> Iterator[Finding]:
    """Params, vars and rows that nothing uses; numbers written like codes; what will not be sent as it looks."""
    yield from _unused(root, scope)
    yield from _numbers_like_codes(root)
    yield from _never_ok(root)
    for section in ("vars", "enrich", "request", "steps", "repeat"):
        if (node := root.get(section)) is not None:
            yield from _texts(node)
    for section in ("vars", "request", "steps", "repeat"):
        if (node := root.get(section)) is not None:
            yield from _literal_keys(node)
            yield from _markup(node)


def _unused(root: MappingNode, scope: Scope) -> Iterator[Finding]:
    for section in ("params", "vars"):
        node = root.get(section)
        if isinstance(node, MappingNode) and f"{section}.*" not in scope.used:
            for entry in node:
                if f"{section}.{entry.key}" not in scope.used:
                    yield Finding(entry.mark, f"nothing uses {section}.{entry.key}")
    enrich = root.get("enrich")
    for entry in enrich if isinstance(enrich, MappingNode) else ():
        if entry.key not in scope.used:
            yield Finding(entry.mark, f"nothing uses enrich.{entry.key}, and it is read for every event")


def _never_ok(root: MappingNode) -> Iterator[Finding]:
    """An `ok` that no success fulfils: it was meant to add an answer, and undoes all others."""
    response = root.get("response")
    rule = response.get("ok") if isinstance(response, MappingNode) else None
    if not isinstance(rule, ScalarNode):
        return
    try:
        parts = _operands(parse_expression(rule.text))
    except SyntaxInvalid:
        return
    if any(_excludes_success(part) for part in parts):
        message = "`ok` that is false makes a rejection of a success, and no 2xx fulfils this; write `status < 300 or …`"
        yield Finding(rule.mark, message, rule.text)


def _operands(condition: nodes.Expr) -> list[nodes.Expr]:
    """Those of its `and`."""
    if isinstance(condition, nodes.And):
        return _operands(condition.left) + _operands(condition.right)
    return [condition]


def _excludes_success(condition: nodes.Expr) -> bool:
    match condition:
        case nodes.Compare(
            expr=nodes.Name(name="status"),
            ops=[nodes.Operand(op="eq" | "gt" | "gteq" as op, expr=nodes.Const(value=int(than)))],
        ):
            return than > _LAST_SUCCESS - (op == "gt") or (op == "eq" and than < _FIRST_SUCCESS)
        case _:
            return False


def _texts(node: Node) -> Iterator[Finding]:
    """Values that look as if their braces, or the letters of their date's form, were forgotten."""
    match node:
        case ScalarNode(text=text) if _LOOKS_BARE.fullmatch(text):
            yield Finding(node.mark, f'this is the text {text!r}; for the value write "{{{{ {text} }}}}"')
        case ScalarNode(text=text) if "date_format" in text:
            yield from _dates_without_letters(node.mark, text)
        case MappingNode():
            for entry in node:
                if entry.key not in _BARE:
                    yield from _texts(entry.value)
        case SequenceNode():
            for item in node:
                yield from _texts(item)
        case _:
            pass


def _dates_without_letters(mark: Mark, text: str) -> Iterator[Finding]:
    try:
        parts = parse_template(text)
    except SyntaxInvalid:
        return
    for used in (each for part in parts for each in part.find_all(nodes.Filter)):
        match used:
            case nodes.Filter(name="date_format", args=[nodes.Const(value=str(form))]) if "%" not in form:
                message = f"every date becomes the text {form!r}; write strftime's letters, as in '%d/%m/%Y'"
                yield Finding(mark, message, text)
            case _:
                pass


def _numbers_like_codes(node: Node) -> Iterator[Finding]:
    match node:
        case ScalarNode(quoted=False, text=text, value=int(value)) if _LEADING_ZERO.fullmatch(text):
            yield Finding(node.mark, f'{text} is the number {value}; a code is text: write "{text}"')
        case MappingNode():
            for entry in node:
                yield from _numbers_like_codes(entry.value)
        case SequenceNode():
            for item in node:
                yield from _numbers_like_codes(item)
        case _:
            pass


def _literal_keys(node: Node) -> Iterator[Finding]:
    """Keys that are sent as they stand, and look as if they were meant otherwise."""
    if isinstance(node, MappingNode):
        for entry in node:
            if is_template(entry.key):
                yield Finding(
                    entry.mark, "keys are sent as they stand; write $for with $key for a key that is computed"
                )
            elif near := _nearly_reserved(entry.key):
                yield Finding(entry.mark, f"{entry.key} is sent as it stands{near}")
            yield from _literal_keys(entry.value)
    elif isinstance(node, SequenceNode):
        for item in node:
            yield from _literal_keys(item)


def _nearly_reserved(key: str) -> str:
    if not key.startswith("$") or key in (*RESERVED, *_ODATA) or key.startswith("$$"):
        return ""
    hint = nearest(key, RESERVED)
    return hint if "did you mean" in hint else ""


_SAFE = frozenset({
    "xml", "e", "escape", "decimal", "digits", "date_format", "odata_date", "int", "float", "round", "abs", "length",
    "count", "sum", "urlencode",
})  # fmt: skip
"""Filters after which nothing in a value could be markup."""


def _markup(node: Node) -> Iterator[Finding]:
    """Values in XML that is written as text, which nobody escapes."""
    if isinstance(node, MappingNode):
        for entry in node:
            text = entry.value
            if entry.key == "text" and isinstance(text, ScalarNode) and text.text.lstrip().startswith("<"):
                yield from _unescaped(text)
            else:
                yield from _markup(entry.value)


def _unescaped(node: ScalarNode) -> Iterator[Finding]:
    try:
        parts = parse_template(node.text)
    except SyntaxInvalid:
        return
    for output in (each for part in parts for each in (part, *part.find_all(nodes.Output))):
        for value in output.nodes if isinstance(output, nodes.Output) else ():
            safe = isinstance(value, nodes.TemplateData | nodes.Const) or (
                isinstance(value, nodes.Filter) and value.name in _SAFE
            )
            if not safe:
                yield Finding(
                    node.mark,
                    "a value in XML that is written as text: write … | xml, or the tree as xml",
                    node.text,
                )
                return
