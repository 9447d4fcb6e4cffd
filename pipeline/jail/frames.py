"""What a worker and the process that renders for it say to each other. Pure.

Each frame is its length (four bytes, big-endian) and a MessagePack array. JSON stays JSON inside it, as bytes: numbers
keep their digits, and an event is passed on as it came. The child is not trusted: what it says is decoded by these types
alone, and nothing longer than LARGEST is read.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.msgpack import Decoder, Encoder

from eventbus.event import EventInvalid, decode_json
from pipeline.mapping_text import MappingText

LARGEST = 128 * 2**20
"""Bytes of a frame: of the largest event that is rendered, and of what comes out."""

Op = Literal["facts", "render", "classify", "order", "cases", "unnoticed"]


class MappingSource(msgspec.Struct, frozen=True, array_like=True):
    """All that compiling depends on. lookups: the texts of the CSV files, by name; None: not known here.

    bases, files: see MappingText.
    """

    text: str
    lookups: dict[str, str] | None = None
    bases: tuple[MappingText, ...] = ()
    files: dict[str, str] = {}

    @classmethod
    def of(cls, text: MappingText, lookups: dict[str, str] | None) -> "MappingSource":
        return cls(text.text, lookups, text.bases, dict(text.files))

    @property
    def written(self) -> int:
        """Characters of all that is compiled."""
        texts = (
            self.text,
            *self.files.values(),
            *(part for base in self.bases for part in (base.text, *base.files.values())),
        )
        return sum(map(len, texts))


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Keep this mapping's text: tasks name it by its digest."""

    digest: bytes
    source: MappingSource


class Zone(msgspec.Struct, frozen=True, array_like=True, tag="zone"):
    """The time zone's file, for the child may open none."""

    name: str
    content: bytes


class PlugIns(msgspec.Struct, frozen=True, array_like=True, tag="plug_ins"):
    """The connector kinds of other people's packages, whose code the child never loads."""

    names: list[str]


class ShapeKey(msgspec.Struct, frozen=True, array_like=True):
    """A RequestKey. check: the name of one of ours (`pipeline.jail.told_kinds`), or ""."""

    name: str
    leaf: str
    required: bool
    check: str
    literal: str
    inside: "Keys | None"


class Keys(msgspec.Struct, frozen=True, array_like=True):
    """A RequestShape."""

    keys: list[ShapeKey]
    payload: tuple[str, ...]
    one_of: tuple[str, ...]


class Shape(msgspec.Struct, frozen=True, array_like=True, tag="shape"):
    """What requests of such a kind look like; a text says what is wrong with its package."""

    name: str
    told: Keys | str


class Task(msgspec.Struct, frozen=True, array_like=True, tag="task"):
    """Answered by exactly one Answer with its number, unless the child is told to skip it, or ends.

    event: its JSON as it came. given: JSON of what else the operation needs. cpu_s: seconds of CPU that it may take.
    """

    number: int
    op: Op
    digest: bytes
    event: bytes
    given: bytes
    cpu_s: float


Order: TypeAlias = Load | Zone | PlugIns | Shape | Task
"""What the parent says."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The child is locked in, and waits for tasks."""


class Result(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """body: JSON, of the operation's type. strain: see Failed."""

    number: int
    body: bytes
    strain: bool = False


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The event cannot be rendered. file: empty for the mapping's own. strain: it took more than it may."""

    number: int
    class_: str
    message: str
    mark: tuple[str, int, int]
    expression: str = ""
    strain: bool = False


class Invalid(msgspec.Struct, frozen=True, array_like=True, tag="invalid"):
    """The mapping cannot be used. findings: message, file, line, column, key path, expression."""

    number: int
    findings: list[tuple[str, str, int, int, str, str]]
    strain: bool = False


class Defect(msgspec.Struct, frozen=True, array_like=True, tag="defect"):
    """It failed in a way that it must not: ours to mend."""

    number: int
    message: str


class Lacking(msgspec.Struct, frozen=True, array_like=True, tag="lacking"):
    """The mapping was given up to make room: load it again, and give the task again.

    kind: where it is not the mapping that is lacking, but this kind's Shape.
    """

    number: int
    kind: str = ""


Answer: TypeAlias = Result | Failed | Invalid | Defect | Lacking
"""What the child says of a task."""

_encoder = Encoder()
_orders: Decoder[Order] = Decoder(Order)
_answers: Decoder[Answer | Hello] = Decoder(Answer | Hello)
_json = msgspec.json.Encoder(decimal_format="number")

T = TypeVar("T")


class FrameInvalid(Exception):
    """The other side says what is no frame."""


def frame(content: Order | Answer | Hello) -> bytes:
    body = _encoder.encode(content)
    return len(body).to_bytes(4) + body


def read_order(body: bytes) -> Order:
    return _orders.decode(body)


def read_answer(body: bytes) -> Answer | Hello:
    """Raises FrameInvalid."""
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameInvalid(str(error)) from None


class Frames:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are whole now. Raises FrameInvalid for one that is too long."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(buffer[start : start + 4])
            if size > LARGEST:
                raise FrameInvalid(f"a frame of {size} bytes")
            end = start + 4 + size
            if len(buffer) < end:
                break
            yield bytes(buffer[start + 4 : end])
            start = end
        del buffer[:start]


def to_json(value: Any) -> bytes:
    """Structs, dataclasses and JSON values; a Decimal as a number with its own digits."""
    return _json.encode(value)


class FromJson(Generic[T]):
    """Reads one type's JSON, with numbers int or Decimal."""

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type_, float_hook=Decimal)

    def __call__(self, text: bytes) -> T:
        """Raises FrameInvalid."""
        try:
            return self._decoder.decode(text)
        except (ValueError, ArithmeticError, RecursionError):
            return self._of_long_numbers(text)

    def _of_long_numbers(self, text: bytes) -> T:
        try:
            found: T = msgspec.convert(decode_json(text), self._type)
        except (EventInvalid, msgspec.ValidationError, RecursionError) as error:
            raise FrameInvalid(str(error)) from None
        return found
