"""Names, durations, sizes and rates as people write them in bridge.yaml and tenant.yaml."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from pipeline.yaml_nodes import Mark, Node, ScalarNode, YamlError

MAX_NAME = 60
NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")

Factor = Decimal | int
_Combine = Callable[[Decimal, Factor], Decimal]
_SECONDS: Mapping[str, Factor] = {"ms": Decimal("0.001"), "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_PER = {"s": 1, "m": 60, "h": 3_600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB)", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h)")


def check_name(name: str, mark: Mark, what: str) -> str:
    """A source's, tenant's, connection's or route's name: it becomes a token of subjects and bucket keys.

    Raises:
        YamlError: saying what a name is made of.
    """
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise YamlError(
            mark,
            f"{name!r} cannot be {what}: write at most {MAX_NAME} lower-case letters, digits, and single - or _ "
            "between them",
        )
    return name


def duration(node: Node) -> float:
    """Seconds, from text such as `500ms`, `30s`, `2m`, `1h`, `7d`; more than zero."""
    return float(_quantity(node, _DURATION, _SECONDS, "a duration such as 30s, 2m, 1h or 7d"))


def size(node: Node) -> int:
    """Bytes, from text such as `512MB` or `4GB`; the units are powers of 1,024, as in PostgreSQL."""
    return int(_quantity(node, _SIZE, _BYTES, "a size such as 512MB or 4GB"))


def rate(node: Node) -> float:
    """Times a second, from text such as `10/s`, `600/m`, `1000/h`."""
    return float(_quantity(node, _RATE, _PER, "a rate such as 10/s, 600/m or 1000/h", lambda n, per: n / per))


def whole(node: Node) -> int:
    """A whole number from 1 on."""
    return node.as_int(1)


def share(node: Node) -> float:
    """From above 0 to 1."""
    found = node.as_number()
    if not 0 < found <= 1:
        raise node.error(f"{node.mark.path}: expected a share above 0, at most 1, not {node.describe()}")
    return float(found)


def number(node: Node) -> float:
    """Any number."""
    return float(node.as_number())


def _quantity(
    node: Node,
    pattern: re.Pattern[str],
    units: Mapping[str, Factor],
    expected: str,
    combine: _Combine = lambda number, unit: number * unit,
) -> Decimal:
    written = node.text.strip() if isinstance(node, ScalarNode) else ""
    found = pattern.fullmatch(written)
    if found is None:
        raise node.error(f"{node.mark.path}: expected {expected}, not {node.describe()}")
    unit = found[2] if found[2] in units else found[2].upper()
    value = combine(Decimal(found[1]), units[unit])
    if value <= 0:
        raise node.error(f"{node.mark.path}: expected {expected} above zero, not {node.describe()}")
    return value
