"""The section `intake` of bridge.yaml: who may send webhooks, and what they must fulfil."""

from functools import partial
from typing import TYPE_CHECKING

from bridge.console.intake_source import IntakeSource, secret_name
from bridge.console.signature import SecretInvalid, decode_secret
from bridge.environment import Environment
from pipeline.problems import Problems, mapping_of, or_default
from pipeline.quantities import MAX_NAME, check_name, duration, size
from pipeline.yaml_nodes import Entry, Node, SequenceNode, YamlError

if TYPE_CHECKING:
    from pipeline.payload_schema import PayloadSchema

_KEYS = ("secret", "schema", "max_bytes", "tolerance", "remember", "key")
_DEFAULTS = IntakeSource("")


def check_names(intake: Node | None, sources: Node | None) -> None:
    """A name stands in events' ids and subjects, so nothing else may have it. Reads no values, and so needs no secret.

    Raises:
        YamlError: naming file, line and remedy.
    """
    if intake is None or sources is None:
        return
    taken = sources.as_mapping()
    for entry in intake.as_mapping():
        if entry.key in taken:
            raise YamlError(
                entry.mark,
                f"{entry.mark.path}: `sources` has a source of that name already; give this one another",
            )


def intake(node: Node | None, environment: Environment) -> dict[str, IntakeSource]:
    """By name.

    Raises:
        YamlError, ConfigurationInvalid: naming file, line and remedy.
    """
    found: dict[str, IntakeSource] = {}
    problems = Problems()
    for entry in () if node is None else node.as_mapping():
        source = problems.attempt(partial(_source, entry, environment), None)
        if source is not None:
            found[entry.key] = source
    problems.raise_any()
    return found


def _source(entry: Entry, environment: Environment) -> IntakeSource:
    check_name(entry.key, entry.mark, "a source's name")
    section = mapping_of(entry.value, _KEYS)
    problems = Problems()
    attempt = problems.attempt
    secrets = section.get("secret")
    source = IntakeSource(
        name=entry.key,
        secrets=attempt(lambda: or_default(secrets, lambda node: _secrets(node, environment), ()), ()),
        schema=attempt(
            lambda: or_default(section.get("schema"), lambda node: _schema(node, environment), None), None
        ),
        max_bytes=attempt(lambda: or_default(section.get("max_bytes"), size, _DEFAULTS.max_bytes), 0),
        tolerance=attempt(lambda: or_default(section.get("tolerance"), duration, _DEFAULTS.tolerance), 0.0),
        remember=attempt(lambda: or_default(section.get("remember"), duration, _DEFAULTS.remember), 0.0),
        key=attempt(lambda: or_default(section.get("key"), _path, ()), ()),
    )
    problems.raise_any()
    _check(entry, source, has_secret=secrets is not None)
    return source


def _check(entry: Entry, source: IntakeSource, *, has_secret: bool) -> None:
    if source.remember < 2 * source.tolerance:
        raise YamlError(
            entry.mark,
            f"{entry.mark.path}: remember is shorter than twice tolerance ({2 * source.tolerance:g} s): a webhook that "
            "somebody recorded could be sent again after it is forgotten; make remember longer",
        )
    if not has_secret and len(secret_name(source.name)) > MAX_NAME:
        raise YamlError(
            entry.mark,
            f"{entry.mark.path}: the name is too long for the tenants' own secrets, which are named "
            f"{secret_name(source.name)}: write a shorter one, or `secret`",
        )


def _secrets(node: Node, environment: Environment) -> tuple[bytes, ...]:
    nodes = tuple(node) if isinstance(node, SequenceNode) else (node,)
    if not nodes:
        raise node.error(f"{node.mark.path}: names no secret; write one, or leave the key out")
    return tuple(_secret(one, environment) for one in nodes)


def _secret(node: Node, environment: Environment) -> bytes:
    try:
        return decode_secret(environment.secret(node) or "")
    except SecretInvalid as error:
        raise node.error(f"{node.mark.path}: {error}") from None


def _schema(node: Node, environment: Environment) -> "PayloadSchema":
    # a tenth of a second to import, and only the console reads schemas
    from pipeline.payload_schema import PayloadSchema, SchemaInvalid  # noqa: PLC0415

    file = environment.path(node)
    try:
        return PayloadSchema(file.read_bytes())
    except OSError as error:
        raise node.error(f"{node.mark.path}: file {file} cannot be read: {error.strerror}") from None
    except SchemaInvalid as error:
        raise node.error(f"{node.mark.path}: {file} is no JSON Schema to be used: {error}") from None


def _path(node: Node) -> tuple[str, ...]:
    path = tuple(node.as_text().split("."))
    if not all(path):
        raise node.error(f"{node.mark.path}: expected names with points between them, such as data.id")
    return path
