"""Kinds of other people's packages, by the names that mappings and connections use.

A package offers one by an entry point of the group `bridge.connectors`: what a ConnectorKind offers, as a module mostly.

    [project.entry-points."bridge.connectors"]
    webdav = "bridge_webdav"

Names are read once in a process, a package is loaded when its kind is first asked for, and whatever is wrong with one is
the error of those who use it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from connectors.plug_in_guard import GuardedKind, place_of
from connectors.protocol import ConnectorKind, KindBroken, Leaf, RequestKey, RequestShape

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "bridge.connectors"
_OFFERS = ("prepare", "check_settings", "open_connector")
_SEE = "docs/connectors.md says what a kind offers"


class NotTold(Exception):
    """A process that loads no plug-in was not told yet what this one's requests look like."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class PlugIn(Protocol):
    """One name, and what stands behind it."""

    @property
    def packages(self) -> str:
        """Who offers it, for people."""
        ...

    def shape(self) -> RequestShape:
        """Raises KindBroken, NotTold."""
        ...

    def kind(self) -> ConnectorKind:
        """Raises KindBroken, NotTold."""
        ...


@dataclass(slots=True)
class Installed:
    """Of this environment: loaded when it is first asked for, once."""

    name: str
    offered: list["EntryPoint"]
    _known: ConnectorKind | KindBroken | None = None

    @property
    def packages(self) -> str:
        return " and ".join(sorted(map(_package, self.offered)))

    def shape(self) -> RequestShape:
        return self.kind().SHAPE

    def kind(self) -> ConnectorKind:
        if self._known is None:
            self._known = self._loaded()
        if isinstance(self._known, KindBroken):
            raise KindBroken(str(self._known))
        return self._known

    def _loaded(self) -> ConnectorKind | KindBroken:
        if len(self.offered) > 1:
            return KindBroken(
                f"connector {self.name!r} is offered by {self.packages}: uninstall all of them but one"
            )
        (found,) = self.offered
        whose = f"connector {self.name!r} of the package {self.packages} ({found.value})"
        try:
            loaded = found.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 — somebody else's code, for its users alone
            words = f"{type(error).__name__}: {error}{place_of(error)}"
            return KindBroken(f"{whose} cannot be loaded: {words}; mend or update the package")
        if (lacking := _lacking(loaded)) is not None:
            return KindBroken(f"{whose} {lacking}; {_SEE}")
        return GuardedKind(loaded, whose)


@dataclass(slots=True)
class Told:
    """Of a process that loads nobody else's code: its parent tells it the shape, or what is wrong."""

    name: str
    packages: str = ""
    told: RequestShape | str | None = field(default=None)

    def shape(self) -> RequestShape:
        match self.told:
            case None:
                raise NotTold(self.name)
            case str():
                raise KindBroken(self.told)
            case _:
                return self.told

    def kind(self) -> ConnectorKind:
        raise KindBroken(f"connector {self.name!r} is a plug-in, and this process loads none")


class PlugIns:
    """Of one process."""

    def __init__(self) -> None:
        self._found: Mapping[str, PlugIn] | None = None
        self._told: dict[str, Told] = {}

    @property
    def found(self) -> Mapping[str, PlugIn]:
        """By their names, read once: what is installed later is there after a restart."""
        if self._found is None:
            self._found = _installed()
        return self._found

    def load_none(self, names: Collection[str]) -> None:
        """From here on these are the plug-ins, and what is known of them is told."""
        self._found = self._told = {name: Told(name) for name in names}

    def tell(self, name: str, told: RequestShape | str) -> None:
        """told: the shape, or what is wrong with the package."""
        self._told[name].told = told


def _installed() -> dict[str, PlugIn]:
    from importlib.metadata import distributions  # noqa: PLC0415 — a process that is told has no use for it

    by_name: dict[str, list[EntryPoint]] = {}
    seen: set[str] = set()
    for distribution in distributions():
        try:
            name = distribution.name.lower().replace("_", "-")
            offered = [each for each in distribution.entry_points if each.group == GROUP]
        except Exception:  # noqa: BLE001, S112 — files of some package that cannot be read: it offers nothing
            continue
        if name not in seen:  # what comes later on the path is not what would be imported
            seen.add(name)
            for each in offered:
                by_name.setdefault(each.name, []).append(each)
    return {name: Installed(name, offered) for name, offered in by_name.items()}


def _package(offered: "EntryPoint") -> str:
    return f"{offered.dist.name} {offered.dist.version}" if offered.dist is not None else offered.value


def _lacking(loaded: Any) -> str | None:
    """Why this is no ConnectorKind."""
    if (why := _unlike_a_shape(getattr(loaded, "SHAPE", None))) is not None:
        return f"has {why}"
    for name in _OFFERS:
        if not callable(getattr(loaded, name, None)):
            return f"has no function {name}"
    return None


def _unlike_a_shape(shape: Any) -> str | None:
    if not isinstance(shape, RequestShape):
        return "no SHAPE that is a connectors.protocol.RequestShape"
    if not _are_keys(shape.keys):
        return "a SHAPE whose keys are no names with a connectors.protocol.RequestKey each"
    if unknown := sorted({*shape.payload, *shape.one_of} - set(shape.keys)):
        return f"a SHAPE that names {unknown[0]!r}, which is none of its keys"
    for name, key in shape.keys.items():
        if (key.leaf is Leaf.REQUESTS) != bool(key.inside):
            return f"a SHAPE whose key {name!r} is no Leaf.REQUESTS with what is `inside` them"
        if key.inside and (why := _unlike_a_shape(key.inside)) is not None:
            return f"in its key {name!r} {why}"
    return None


def _are_keys(keys: Any) -> bool:
    return isinstance(keys, Mapping) and all(
        isinstance(name, str) and isinstance(key, RequestKey) for name, key in keys.items()
    )
