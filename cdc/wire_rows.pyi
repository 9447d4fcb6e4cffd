from collections.abc import Callable, Collection, Sequence

from cdc.column_values import Wire

class WireRows:
    def __init__(
        self,
        names: list[str],
        wires: Sequence[Wire],
        to_json: list[Callable[[str], str]],
        published: Collection[int],
        key: tuple[int, ...],
        tenant: int | None,
    ) -> None: ...
    def encode(self, data: bytes, at: int) -> tuple[str | int | None, str, str] | None: ...
