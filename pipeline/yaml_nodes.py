"""A YAML file as frozen nodes that know where they stand, with typed access for readers.

Every reader of a file people write (mappings, tenant.yaml, bridge.yaml) goes through these nodes, so that
every complaint names file, line, column and key and says what to write instead.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property

Scalar = None | bool | int | Decimal | str
Plain = Scalar | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands: a file's name, line and column counted from 1, and the dotted key path."""

    file: str
    line: int
    column: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class YamlError(Exception):
    """A file that cannot be read as it should be: where, what, and what to write instead."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(f"{mark}: {message}")
        self.mark = mark
        self.file, self.line, self.column = mark.file, mark.line, mark.column
        self.message = message


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or the list of the known ones, or nothing."""
    names = sorted(known)
    if close := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 30 else ""


@dataclass(frozen=True)
class _Node:
    mark: Mark

    def error(self, message: str) -> YamlError:
        """The error to raise about this node."""
        return YamlError(self.mark, message)

    def _expected(self, what: str) -> YamlError:
        return self.error(f"{self.mark.path or 'the file'}: expected {what}, not {self.describe()}")

    def describe(self) -> str:
        """What stands here, in words for an error."""
        raise NotImplementedError

    def as_text(self) -> str:
        """Text. A number or a boolean is refused: it may have lost what was written (`0471`)."""
        raise self._expected("text")

    def as_int(self, minimum: int | None = None, maximum: int | None = None) -> int:  # noqa: ARG002 — used in ScalarNode
        """A whole number within the bounds."""
        raise self._expected("a whole number")

    def as_number(self) -> int | Decimal:
        """A whole or decimal number."""
        raise self._expected("a number")

    def as_bool(self) -> bool:
        """`true` or `false`."""
        raise self._expected("true or false")

    def as_mapping(self) -> "MappingNode":
        """A mapping of keys to values."""
        raise self._expected("a mapping of keys to values")

    def as_sequence(self) -> "SequenceNode":
        """A list."""
        raise self._expected("a list")

    @property
    def is_null(self) -> bool:
        """Whether nothing, `null` or `~` stands here."""
        return False

    def plain(self) -> Plain:
        """The value without its marks: dict, list, text, int, Decimal, bool, None."""
        raise NotImplementedError


@dataclass(frozen=True)
class ScalarNode(_Node):
    """One value. `text` is what was written; `quoted` is false for plain scalars, whose type the schema gave."""

    value: Scalar
    text: str
    quoted: bool

    def describe(self) -> str:
        match self.value:
            case None:
                return "nothing"
            case bool():
                return f"the boolean {self.text}"
            case int() | Decimal():
                return f"the number {self.text}"
        return f"the text {self.text[:60]!r}"

    def as_text(self) -> str:
        if isinstance(self.value, str):
            return self.value
        if self.value is None:
            raise self._expected("text")
        raise self.error(f'{self.mark.path}: expected text, not {self.describe()}; write "{self.text}"')

    def as_int(self, minimum: int | None = None, maximum: int | None = None) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self._expected("a whole number")
        if (minimum is not None and self.value < minimum) or (maximum is not None and self.value > maximum):
            low = "" if minimum is None else f" from {minimum}"
            high = "" if maximum is None else f" up to {maximum}"
            raise self._expected(f"a whole number{low}{high}")
        return self.value

    def as_number(self) -> int | Decimal:
        if isinstance(self.value, int | Decimal) and not isinstance(self.value, bool):
            return self.value
        raise self._expected("a number")

    def as_bool(self) -> bool:
        if isinstance(self.value, bool):
            return self.value
        raise self._expected("true or false")

    @property
    def is_null(self) -> bool:
        return self.value is None

    def plain(self) -> Plain:
        return self.value


@dataclass(frozen=True)
class SequenceNode(_Node):
    """A list of nodes."""

    items: tuple["Node", ...]

    def describe(self) -> str:
        return "a list"

    def as_sequence(self) -> "SequenceNode":
        return self

    def __iter__(self) -> Iterator["Node"]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def texts(self) -> tuple[str, ...]:
        """The elements, each of which has to be text."""
        return tuple(item.as_text() for item in self.items)

    def plain(self) -> Plain:
        return [item.plain() for item in self.items]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value; the mark is the key's."""

    key: str
    mark: Mark
    value: "Node"


@dataclass(frozen=True)
class MappingNode(_Node):
    """Keys and values in the order written; keys are texts and stand once."""

    entries: tuple[Entry, ...] = field(default=())

    @cached_property
    def _by_key(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.entries}

    def describe(self) -> str:
        return "a mapping of keys to values"

    def as_mapping(self) -> "MappingNode":
        return self

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def keys(self) -> tuple[str, ...]:
        """The keys in the order written."""
        return tuple(self._by_key)

    def entry(self, key: str) -> Entry | None:
        """The entry of a key (its mark is the key's), or None."""
        return self._by_key.get(key)

    def get(self, key: str) -> "Node | None":
        """The value of a key; None where the key is absent or null."""
        entry = self._by_key.get(key)
        return None if entry is None or entry.value.is_null else entry.value

    def require(self, key: str) -> "Node":
        """The value of a key that has to be there.

        Raises:
            YamlError: the key is absent or null.
        """
        if (node := self.get(key)) is not None:
            return node
        where = f"{self.mark.path}: " if self.mark.path else ""
        if (entry := self._by_key.get(key)) is not None:
            raise YamlError(entry.mark, f"{where}key {key!r} has no value")
        raise self.error(f"{where}key {key!r} is missing")

    def unknown_keys(self, known: Iterable[str]) -> list[YamlError]:
        """One error for each key that is not known."""
        known = set(known)
        where = f" in {self.mark.path}" if self.mark.path else ""
        return [
            YamlError(entry.mark, f"unknown key {entry.key!r}{where}{nearest(entry.key, known)}")
            for entry in self.entries
            if entry.key not in known
        ]

    def check_keys(self, known: Iterable[str]) -> None:
        """Refuse the first key that is not known.

        Raises:
            YamlError: naming the key, its line and the nearest known one.
        """
        for error in self.unknown_keys(known):
            raise error

    def plain(self) -> Plain:
        return {entry.key: entry.value.plain() for entry in self.entries}


Node = ScalarNode | SequenceNode | MappingNode
