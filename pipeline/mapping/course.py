"""Compiles what is sent: a mapping's `request`, or its `steps`, with how each may be repeated."""

from connectors.protocol import KindUnusable, RequestShape
from connectors.registry import shape
from pipeline.mapping.declarations import Declarations
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.leaves import Reader
from pipeline.mapping.payload import SCHEMA, Schemas
from pipeline.mapping.request_leaves import compile_request
from pipeline.mapping.requirement import Requirement
from pipeline.mapping.response import compile_save
from pipeline.mapping.results import Repeat
from pipeline.mapping.scope import ANSWER_NAMES
from pipeline.mapping.steps import STEPS, Course, Find, Step
from pipeline.mapping.values import Frame
from pipeline.yaml_tree import Entry, MappingNode, Node, ScalarNode

STEP_KEYS = ("when", "reads", "request", "require", "repeat", SCHEMA)
FIND_KEYS = ("request", "found", "save")
_NO_SHAPE = RequestShape({})
"""Of a connector that is not known; that is said elsewhere."""


class CourseCompiler:
    """Compiles requests for one connector kind."""

    def __init__(self, declarations: Declarations, connector: str, schemas: Schemas) -> None:
        self._declared = declarations
        self._reader = declarations.reader
        self._shape = _shape(connector)
        self._schemas = schemas
        self.repeat: Repeat = "unsafe"

    def course(self, response: MappingNode | None) -> Course:
        """response: the mapping's, where it has one."""
        root = self._declared.root
        self.repeat = self._declared.repeat(root.get("repeat"), "unsafe")
        steps = self._steps() if "steps" in root else (self._only(),)
        section = None if response is None else self._declared.section("save", response)
        save = compile_save(section, self._reader)
        return Course(steps or (self._only(),), save)

    def _only(self) -> Step:
        """A mapping's one request."""
        root = self._declared.root
        self._declared.required("request", "request: {method: POST, path: /…, body: {…}}")
        return Step(
            name="",
            mark=root.mark,
            when=None,
            request=self._request(self._declared.section("request")),
            check=self._schemas.check(root.get(SCHEMA), self._shape.payload, self._reader),
            reads=False,
            repeat=self.repeat,
            find=self._find(root.get("repeat")),
            require=None,
            answered=False,
        )

    def _steps(self) -> tuple[Step, ...]:
        root, reader = self._declared.root, self._reader
        for key in ("request", SCHEMA):
            if (entry := root.entry(key)) is not None:
                reader.refuse(entry.mark, f"{key} stands in each of the steps, not beside them")
        if self.repeat == "find" and (node := root.get("repeat")) is not None:
            reader.refuse(
                node.mark, "a lookup belongs to the step that it looks up: write it there as repeat"
            )
            self.repeat = "unsafe"
        reader.scope.names.add(STEPS)
        members = reader.scope.members[STEPS] = set()
        steps = []
        for entry in self._declared.section("steps") or ():
            steps.append(self._step(entry))
            members.add(entry.key)
        if not steps and (found := root.entry("steps")) is not None:
            reader.refuse(found.mark, "steps needs a step; write name: {request: {…}}")
        return tuple(step for step in steps if step is not None)

    def _step(self, entry: Entry) -> Step | None:
        reader, declared = self._reader, self._declared
        declared.check_name(entry.key, entry.mark)
        if not isinstance(entry.value, MappingNode):
            reader.refuse(entry.mark, f"a step is an object, not {entry.value.describe()}")
            return None
        node = entry.value
        for error in node.unknown_keys(STEP_KEYS):
            reader.refuse(error.mark, error.message)
        when = node.entry("when")
        condition = None if when is None else reader.condition_of(when, "when")
        if node.get("request") is None:
            reader.refuse(entry.mark, f"the step {entry.key!r} needs a request")
        request = self._request(declared.section("request", node))
        find = self._find(node.get("repeat"))
        require, answered = self._require(entry.key, node)
        return Step(
            name=entry.key,
            mark=entry.mark,
            when=condition,
            request=request,
            check=self._schemas.check(node.get(SCHEMA), self._shape.payload, reader),
            reads=declared.flag(node.get("reads")),
            repeat=declared.repeat(node.get("repeat"), self.repeat),
            find=find,
            require=require,
            answered=answered,
        )

    def _require(self, name: str, node: MappingNode) -> tuple[Requirement | None, bool]:
        """A step's condition, and whether it speaks of the step's own answer."""
        members = self._reader.scope.members[STEPS]
        members.add(name)
        with self._reader.scope.noting() as used:
            require = compiled_requirement(node, self._reader, f"the `require` of the step {name!r}")
        members.discard(name)
        return require, not used.isdisjoint({f"{STEPS}.{name}", f"{STEPS}.*"})

    def _find(self, node: Node | None) -> Find | None:
        if not isinstance(node, MappingNode):
            return None
        reader = self._reader
        section = self._declared.section("find", node)
        for error in node.unknown_keys(("find",)):
            reader.refuse(error.mark, error.message)
        if section is None:
            reader.refuse(node.mark, "repeat takes a word, or find: {request: {…}, found: CONDITION}")
            return None
        for error in section.unknown_keys(FIND_KEYS):
            reader.refuse(error.mark, error.message)
        for key in ("request", "found"):
            if section.get(key) is None:
                reader.refuse(section.mark, f"find needs {key!r}")
        request = self._request(self._declared.section("request", section))
        found = section.entry("found")
        with reader.scope.inside(*ANSWER_NAMES):
            condition = _never if found is None else reader.condition_of(found, "found")
        return Find(request, condition, compile_save(self._declared.section("save", section), reader))

    def _request(self, section: MappingNode | None) -> Evaluator:
        if section is None or self._shape is _NO_SHAPE:
            return lambda _frame: {}
        return compile_request(section, self._shape, self._reader)


def _shape(connector: str) -> RequestShape:
    try:
        return shape(connector)
    except KindUnusable:
        return _NO_SHAPE


def compiled_requirement(node: MappingNode, reader: Reader, whose: str) -> Requirement | None:
    """The `require` of a mapping or step."""
    entry = node.entry("require")
    if entry is None:
        return None
    condition = reader.condition_of(entry, "require")
    written = entry.value.text if isinstance(entry.value, ScalarNode) else ""
    return Requirement(condition, entry.value.mark, written, whose)


def _never(_frame: Frame) -> bool:
    return False
