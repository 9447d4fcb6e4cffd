"""Read a mapping's text into a Mapping, with everything that is wrong with it at once."""

from collections.abc import Mapping as Members
from collections.abc import Sequence
from hashlib import sha256

from pipeline.mapping.course import CourseCompiler, compiled_requirement
from pipeline.mapping.declarations import Declarations
from pipeline.mapping.enrichment import compile_enrichments
from pipeline.mapping.errors import Finding, MappingInvalid
from pipeline.mapping.expressions import Evaluator
from pipeline.mapping.extends import merged
from pipeline.mapping.filters import Toolbox
from pipeline.mapping.leaves import Reader
from pipeline.mapping.lint import warnings_of
from pipeline.mapping.lookups import Lookup
from pipeline.mapping.payload import Schemas
from pipeline.mapping.program import Program
from pipeline.mapping.render import Mapping
from pipeline.mapping.response import compile_rules
from pipeline.mapping.scope import Scope
from pipeline.mapping.structure import compile_tree
from pipeline.mapping.values import Value
from pipeline.mapping_text import MappingText
from pipeline.yaml_tree import MappingNode, ScalarNode, YamlError

KEYS = (
    "description",
    "source",
    "ordering",
    "when",
    "params",
    "enrich",
    "vars",
    "skip_if",
    "require",
    "connector",
    "request",
    "schema",
    "steps",
    "repeat",
    "response",
)


def compile_mapping(
    text: str,
    *,
    file: str,
    name: str,
    lookups: Members[str, Lookup] | None = None,
    bases: Sequence[MappingText] = (),
) -> Mapping:
    """`compile_stored` of a text that stands alone, or extends `bases`."""
    return compile_stored(MappingText(file, text, tuple(bases)), name, lookups)


def compile_stored(text: MappingText, name: str, lookups: Members[str, Lookup] | None = None) -> Mapping:
    """Compile once, render for each event.

    Args:
        text: YAML or JSON, with what it names.
        name: the mapping's name, as routes write it.
        lookups: the tenant's crosswalk tables; None where they are not known, as in the shipped mappings' lint:
            then a lookup is an error only when it is used.

    Raises:
        MappingInvalid: with every finding.
    """
    try:
        root = merged(text)
    except YamlError as error:
        raise MappingInvalid([Finding.of(error)]) from None
    return compile_tree_of(root, text, name, lookups)


def compile_tree_of(
    root: MappingNode, text: MappingText, name: str, lookups: Members[str, Lookup] | None = None
) -> Mapping:
    """`compile_stored` of what has been read, and may have been changed since. text: for what it names.

    Raises MappingInvalid.
    """
    reader = Reader(Scope(), Toolbox(lookups), [])
    mapping = _MappingCompiler(root, reader, text).mapping(name, lookups or {})
    if reader.findings:
        raise MappingInvalid(sorted(reader.findings, key=lambda found: (found.mark.line, found.mark.column)))
    return mapping


class _MappingCompiler:
    def __init__(self, root: MappingNode, reader: Reader, text: MappingText) -> None:
        self.root = root
        self.reader = reader
        self.scope = reader.scope
        self.text = text
        self.declared = Declarations(root, reader)

    def mapping(self, name: str, lookups: Members[str, Lookup]) -> Mapping:
        for error in self.root.unknown_keys(KEYS):
            self.reader.refuse(error.mark, error.message)
        source, params = self.declared.source(), self.declared.params()
        connector = self.declared.connector()
        courses = CourseCompiler(self.declared, connector, Schemas(self.text))
        defaults = {name: spec.default for name, spec in params.items() if not spec.required}
        program = self._program(courses, defaults)
        return Mapping(
            name=name,
            file=self.text.file,
            source=source,
            connector=connector,
            params_spec=params,
            repeat=courses.repeat,
            version=_version(self.text, lookups, self.reader.toolbox.lookups_used),
            program=program,
            compared=frozenset(self.scope.compared),
            routes_read=frozenset(self.scope.routes_read),
            warnings=tuple(warnings_of(self.root, self.scope)),
            judges=program.response.any,
            lookups=frozenset(self.reader.toolbox.lookups_used),
            reads=tuple(one.told for one in program.enrich),
            orders=program.ordering is not None,
        )

    def _program(self, courses: CourseCompiler, defaults: dict[str, Value]) -> Program:
        """Compiled in the order of evaluation, so that each part knows the names of those before it, and no others."""
        ordering = self._ordering()
        when = self._condition("when")
        enrich = compile_enrichments(self.declared.section("enrich"), self.reader)
        variables = self._vars()
        skip_if = self._condition("skip_if")
        require = compiled_requirement(self.root, self.reader, "the mapping's `require`")
        response = self.declared.section("response")
        course = courses.course(response)
        rules = compile_rules(response, self.reader, tuple(step.name for step in course.steps if step.name))
        used = self.scope.used
        any_column = bool(used & {"after.*", "event.*", "event.after"})
        return Program(
            ordering=ordering,
            when=when,
            enrich=enrich,
            vars=variables,
            skip_if=skip_if,
            require=require,
            course=course,
            response=rules,
            defaults=defaults,
            needs_uuid=bool(used & {"delivery.uuid", "delivery.*"}),
            columns=None
            if any_column
            else frozenset(name.removeprefix("after.") for name in used if name.startswith("after.")),
        )

    def _ordering(self) -> Evaluator | None:
        entry = self.root.entry("ordering")
        if entry is None:
            return None
        if isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
            with self.scope.noting() as used:
                evaluate = self.reader.expression(entry.value, entry.value.text.strip())
            if used & {"vars", "delivery"}:
                self.reader.refuse(
                    entry.value.mark,
                    "ordering is asked before anything else; it knows the event and the params alone",
                    entry.value.text,
                )
            return evaluate
        self.reader.refuse(entry.mark, "ordering takes an expression, as in after.id_asset")
        return None

    def _vars(self) -> tuple[tuple[str, Evaluator], ...]:
        compiled = []
        for entry in self.declared.section("vars") or ():
            self.declared.check_name(entry.key, entry.mark)
            compiled.append((entry.key, compile_tree(entry.value, self.reader)))
            self.scope.members["vars"].add(entry.key)
        return tuple(compiled)

    def _condition(self, key: str) -> Evaluator | None:
        entry = self.root.entry(key)
        return None if entry is None else self.reader.condition_of(entry, key)


def _version(text: MappingText, lookups: Members[str, Lookup], used: set[str]) -> str:
    """Short and stable: the text, those it extends, the files they name, and the lookups it uses."""
    digest = sha256(text.text.encode())
    for base in text.bases:
        digest.update(b"\0\0" + base.text.encode())
    for each in (text, *text.bases):
        for name, content in sorted(each.files.items()):
            digest.update(f"\0\0{name}\0{content}".encode())
    for name in sorted(used & lookups.keys()):
        digest.update(f"\0{name}\0{lookups[name].digest}".encode())
    return digest.hexdigest()[:12]
