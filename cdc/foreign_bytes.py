r"""Bytes that are no UTF-8 although the database is: they must neither stop capture nor reach a reader.

PostgreSQL up to version 15 prints a "char" from 0x80 on as that byte, and a text made of one holds it; old databases
hold some from before the server checked. From version 16 on it prints `\351`; so do events, whatever the version.
"""

import codecs
import re

KEPT = "surrogateescape"
"""How decoding carries such a byte in a str: as a lone surrogate, which no other value can hold."""
AS_OCTAL = "bridge.octal"
r"""How encoding JSON writes it: as `\\351`, for within JSON it stands in a string."""


def shown(text: str) -> str:
    """A value as people and other programs read it."""
    return _KEPT.sub(lambda kept: rf"\{ord(kept[0]) - 0xDC00:03o}", text)


_KEPT = re.compile("[\udc80-\udcff]")


def _as_octal(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return shown(error.object[error.start : error.end]).replace("\\", r"\\"), error.end


codecs.register_error(AS_OCTAL, _as_octal)
