"""Complaints about files people write, gathered so that they are mended in one go."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pipeline.yaml_nodes import MappingNode, Node, YamlError, nearest

T = TypeVar("T")
Otherwise = TypeVar("Otherwise")


class ConfigurationInvalid(Exception):
    """One or more files say what cannot be: each problem names file, line, key and remedy."""

    def __init__(self, problems: Sequence[YamlError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Problems:
    """What was found so far."""

    def __init__(self) -> None:
        self.found: list[YamlError] = []

    def add(self, problem: YamlError) -> None:
        self.found.append(problem)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is done within ends where it complains, and the complaint is kept."""
        try:
            yield
        except YamlError as problem:
            self.found.append(problem)
        except ConfigurationInvalid as several:
            self.found.extend(several.problems)

    def attempt(self, read: Callable[[], T], otherwise: Otherwise) -> T | Otherwise:
        """What `read` gives; `otherwise` where it complains, which is kept."""
        found: T | Otherwise = otherwise
        with self.kept():
            found = read()
        return found  # noqa: RET504 — `kept` may have ended `read`

    def raise_any(self) -> None:
        """Raises ConfigurationInvalid where anything was found."""
        if self.found:
            raise ConfigurationInvalid(self.found)


def mapping_of(node: Node, known: Collection[str]) -> MappingNode:
    """The node as a mapping of known keys. Raises YamlError."""
    mapping = node.as_mapping()
    mapping.check_keys(known)
    return mapping


def one_of(node: Node, choices: Collection[str]) -> str:
    """A text that is one of `choices`.

    Raises:
        YamlError: anything else, with the nearest choice.
    """
    text = node.as_text()
    if text not in choices:
        raise node.error(f"{node.mark.path}: unknown value {text!r}{nearest(text, choices)}")
    return text


def or_default(node: Node | None, read: Callable[[Node], T], default: Otherwise) -> T | Otherwise:
    """What `read` makes of the node; `default` where nothing is written."""
    return default if node is None else read(node)
