"""The request's keys, each rendered as the connector sends it: a path, a query, a header, a tree of JSON or XML."""

from urllib.parse import quote, unquote

from jinja2 import nodes

from connectors.protocol import Leaf, RequestInvalid, RequestKey, RequestShape
from pipeline.mapping.errors import EvaluationError, RenderError
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import Reader
from pipeline.mapping.structure import RESERVED, compile_tree
from pipeline.mapping.syntax import SyntaxInvalid, is_template, parse_template
from pipeline.mapping.values import NIL, OMIT, Frame, Value, kind_of, text_of
from pipeline.yaml_tree import Entry, MappingNode, Mark, Node, ScalarNode

_LINE_BREAKS = ("\r", "\n", "\0")


def compile_request(node: MappingNode, shape: RequestShape, reader: Reader) -> Evaluator:
    """The closure that gives the request as the connector takes it."""
    for error in node.unknown_keys(shape.keys):
        reader.refuse(error.mark, error.message)
    payloads = [entry for entry in node if entry.key in shape.payload]
    for entry in payloads[1:]:
        reader.refuse(
            entry.mark,
            f"a request holds one of {', '.join(shape.payload)}; this has {payloads[0].key} already",
        )
    for key, spec in shape.keys.items():
        if spec.required and node.get(key) is None:
            reader.refuse(node.mark, f"the request needs {key!r}")
    if shape.one_of and all(node.get(key) is None for key in shape.one_of):
        reader.refuse(node.mark, f"the request needs {' or '.join(map(repr, shape.one_of))}")
    known = [entry for entry in node if entry.key in shape.keys]
    parts = [(entry.key, _part(entry, shape.keys[entry.key], reader)) for entry in known]
    for entry in known:
        _check_what_is_written(entry, shape.keys[entry.key], reader)
    return lambda frame: {key: value for key, inner in parts if (value := inner(frame)) is not OMIT}


def _check_what_is_written(entry: Entry, key: RequestKey, reader: Reader) -> None:
    """What no event can put right is found before the first one: literal texts, and the names of headers."""
    if key.check is None:
        return
    probes: list[tuple[Mark, Value]] = []
    if key.leaf is Leaf.HEADER and isinstance(entry.value, MappingNode):
        own = [one for one in entry.value if one.key not in RESERVED]
        probes = [(one.mark, {one.key: _written_text(one.value, "x")}) for one in own]
    elif isinstance(entry.value, ScalarNode) and key.leaf is Leaf.PATH:
        probes = [(entry.value.mark, _written_text(entry.value, "…"))]
    elif isinstance(entry.value, ScalarNode) and not _is_rendered(entry.value.text, key):
        probes = [(entry.value.mark, entry.value.text.strip())]
    for mark, value in probes:
        try:
            key.check(value)
        except RequestInvalid as error:
            reader.refuse(mark, str(error))


def _written_text(node: Node, value: str) -> str:
    """A leaf's text with `value` in the place of what is not literal; an expression at its beginning may give a /."""
    text = node.text.strip() if isinstance(node, ScalarNode) else "{{}}"
    if not is_template(text):
        return text
    try:
        literals = [data.data for part in parse_template(text) for data in part.find_all(nodes.TemplateData)]
    except SyntaxInvalid:
        return "/"
    return ("/" if text.startswith("{") else "") + value.join([*literals, ""])


def _part(entry: Entry, key: RequestKey, reader: Reader) -> Evaluator:
    node, leaf = entry.value, key.leaf
    match leaf:
        case Leaf.TREE:
            return _checked(compile_tree(node, reader), entry, key)
        case Leaf.REQUESTS:
            return _requests(entry, key, reader)
        case Leaf.XML:
            return _xml(entry, key, reader)
        case Leaf.QUERY | Leaf.HEADER:
            return _section(entry, reader, header=leaf is Leaf.HEADER)
        case Leaf.PATH | Leaf.TEXT:
            if not isinstance(node, ScalarNode) or node.is_null:
                reader.refuse(entry.mark, f"{entry.key} takes a text, not {node.describe()}")
                return lambda _frame: None
            if key.literal:
                return _literal(entry.key, node, key, reader)
            return _path(node, reader) if leaf is Leaf.PATH else reader.text(node)


def _is_rendered(text: str, key: RequestKey) -> bool:
    """In a text that stands as it is written `{#` is its own affair: in GraphQL a comment behind a brace."""
    return is_template(text) if not key.literal else "{{" in text or "{%" in text


def _literal(name: str, node: ScalarNode, key: RequestKey, reader: Reader) -> Evaluator:
    text = node.text.strip()
    if _is_rendered(text, key):
        reader.refuse(node.mark, f"{name} stands as it is written, with no template in it: {key.literal}")
    return lambda _frame: text


def _checked(evaluate: Evaluator, entry: Entry, key: RequestKey, class_: str = "value") -> Evaluator:
    """What the connector cannot send is an error of the rendering, so that a case shows it."""
    check = key.check
    if check is None:
        return evaluate

    def checked(frame: Frame) -> Value:
        tree = evaluate(frame)
        if tree is not OMIT:
            try:
                check(tree)
            except RequestInvalid as error:
                raise RenderError(class_, str(error), entry.mark) from None
        return tree

    return checked


def _requests(entry: Entry, key: RequestKey, reader: Reader) -> Evaluator:
    """A list of requests, with all that makes lists."""
    inside = key.inside
    assert inside is not None

    def member(each: Entry, reader: Reader) -> Evaluator:
        if each.key in inside.keys:
            return _part(each, inside.keys[each.key], reader)
        known = ", ".join(inside.keys)
        reader.refuse(each.mark, f"unknown key {each.key!r}: a request in {entry.key} has {known}")
        return lambda _frame: OMIT

    return _checked(compile_tree(entry.value, reader, member), entry, key)


def _xml(entry: Entry, key: RequestKey, reader: Reader) -> Evaluator:
    """An element's tree: null leaves an element or attribute out, `nil` writes it as xsi:nil."""
    with reader.scope.inside("nil"):
        evaluate = compile_tree(entry.value, reader)
    return _checked(lambda frame: with_nil(evaluate({**frame, "nil": NIL})), entry, key, "xml")


def with_nil(value: Value) -> Value:
    """The tree as a connector takes it: without nulls, `nil` spelt out."""
    if value is NIL:
        return {"@xsi:nil": "true"}
    if isinstance(value, dict):
        return {name: with_nil(each) for name, each in value.items() if each is not None}
    return [with_nil(each) for each in value if each is not None] if isinstance(value, list) else value


def _path(node: ScalarNode, reader: Reader) -> Evaluator:
    evaluate = reader.text(node, path_value)

    def checked(frame: Frame) -> str:
        path: str = evaluate(frame)
        for segment in path.split("/"):
            if segment[:1] in (".", "%") and unquote(segment) in (".", ".."):
                raise RenderError(
                    "path", f"the path {path!r} has the segment {segment!r}", node.mark, node.text
                )
        return path

    return checked


def path_value(value: Value) -> str:
    """A value inside a path: every byte that could mean something there encoded, `/` included.

    Raises:
        EvaluationError: null, or an empty text, which would address another resource.
    """
    if value is None or value == "":
        what = "null" if value is None else "an empty text"
        raise EvaluationError(
            "path", f"{what} in a path would address something else; skip such events with skip_if"
        )
    return quote(text_of(value), safe="")


def _section(entry: Entry, reader: Reader, *, header: bool) -> Evaluator:
    """Names and values: null is left out, numbers and booleans are written out."""
    evaluate = compile_tree(entry.value, reader)

    def section(frame: Frame) -> Value:
        members = evaluate(frame)
        if members is None or members is OMIT:
            return OMIT
        if not isinstance(members, dict):
            raise RenderError("value", f"{entry.key} takes an object, not {kind_of(members)}", entry.mark)
        return {
            name: _written(name, value, entry, header=header)
            for name, value in members.items()
            if value is not None
        }

    return section


def _written(name: str, value: Value, entry: Entry, *, header: bool) -> Value:
    leaf = _leaf_of(name, entry)
    try:
        if header:
            return _header(name, text_of(value))
        if isinstance(value, list):
            return [text_of(element) for element in value if element is not None]
        return text_of(value)
    except EvaluationError as error:
        where, written = (entry.mark, "") if leaf is None else (leaf.mark, leaf.text)
        raise RenderError(error.class_, f"{entry.key} {name!r}: {error.message}", where, written) from None


def _header(name: str, text: str) -> str:
    if any(character in text or character in name for character in _LINE_BREAKS):
        raise EvaluationError(
            "header", r"a line break cannot stand in a header; write … | regex_replace('\\s+', ' ')"
        )
    if not text.isascii() or not text.strip(" \t").isprintable():
        raise EvaluationError(
            "header",
            "a header holds printable ASCII characters alone; write … | urlencode, or send it in the body",
        )
    return text


def _leaf_of(name: str, entry: Entry) -> ScalarNode | None:
    leaf = entry.value.get(name) if isinstance(entry.value, MappingNode) else None
    return leaf if isinstance(leaf, ScalarNode) else None
