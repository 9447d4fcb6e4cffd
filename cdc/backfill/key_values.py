"""An event's key back to what PostgreSQL reads as its columns' values. Pure."""

from collections.abc import Sequence

import msgspec

_BYTEA = 17


class KeyUnreadable(Exception):
    """A column of the key has a form that cannot be written back."""


def key_values(key: str, columns: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """`key`: an event's, JSON; `columns`: the names and types that are wanted, in order. Raises KeyUnreadable."""
    members = _decoder.decode(key)
    return tuple(_value(members[name], type_oid) for name, type_oid in columns)


def _value(json: msgspec.Raw, type_oid: int) -> str:
    text = bytes(json).decode()
    if text[0] in "[{":
        raise KeyUnreadable
    if text[0] != '"':
        return text
    value = msgspec.json.decode(text, type=str)
    # written in base64, and read in it too
    return "\\x" + msgspec.json.decode(text, type=bytes).hex() if type_oid == _BYTEA else value


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
