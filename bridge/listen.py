"""Where a process listens: `http.listen` and `--listen`, as HOST:PORT. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Self

LOOPBACK = "127.0.0.1"
_PORTS = range(65_536)
_FORM = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:\[\]]*):)?(?P<port>\d{1,5})")


class AddressUnavailable(Exception):
    """Nobody can listen there: the port is taken, or the host is not ours."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address. host: without brackets, in which `str` puts an IPv6 address; port 0: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT`, `[::1]:PORT`, or only a port, which is loopback's. Raises ValueError."""
        found = _FORM.fullmatch(text.strip())
        if found is None or int(found["port"]) not in _PORTS:
            raise ValueError(
                f"{text!r} is no address to listen at; write HOST:PORT, such as {LOOPBACK}:9464, or 0.0.0.0:9464 "
                "for every interface"
            )
        return cls((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))

    def after(self, number: int) -> "Listen":
        """The address whose port is so many further. Raises ValueError where there is no such port."""
        if self.port + number not in _PORTS:
            raise ValueError(f"there is no port {self.port + number}; choose a lower one than {self.port}")
        return replace(self, port=self.port + number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
