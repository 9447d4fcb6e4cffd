"""The mappings and crosswalk tables of one tenant's folder, and the shipped mappings behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from pipeline.jail.blocking import compiled
from pipeline.mapping import Lookup, MappingFacts, MappingInvalid, parse_lookup
from pipeline.problems import ConfigurationInvalid, Problems
from pipeline.tenants.model import MappingText
from pipeline.yaml_nodes import Mark, Node, YamlError, nearest

_CASES = ".cases.yaml"


@dataclass(frozen=True)
class MappingFiles:
    """Where one tenant's mappings are looked up: first its own folder, then the shipped one (`templates/`).

    A mapping's name is its path below the folder, without `.yaml`: `sap_s4hana/purchase_requisition`.
    """

    tenant: Path
    shipped: Path

    @cached_property
    def own(self) -> dict[str, Path]:
        """The tenant's own, by name."""
        return _by_name(self.tenant / "mappings")

    @cached_property
    def names(self) -> set[str]:
        """Every name that a route may use."""
        return {*self.own, *_by_name(self.shipped)}

    def path(self, name: str) -> Path:
        """A known name's file."""
        return self.own.get(name) or self.shipped / f"{name}.yaml"

    def stored(self, name: str) -> MappingText:
        """As a version holds it; its file name is the same on every machine."""
        path = self.path(name)
        base = self.tenant.parent if name in self.own else self.shipped.parent
        return MappingText(path.relative_to(base).as_posix(), read_text(path))

    def lookups(self) -> dict[str, str]:
        """The texts of `lookups/*.csv`, by name."""
        return {path.stem: read_text(path) for path in sorted((self.tenant / "lookups").glob("*.csv"))}

    def compile(self, name: str, lookups: Mapping[str, Lookup]) -> MappingFacts:
        """Raises ConfigurationInvalid with every finding, YamlError."""
        path = self.path(name)
        try:
            return compiled(read_text(path), file=str(path), name=name, lookups=lookups)
        except MappingInvalid as invalid:
            problems = [
                YamlError(finding.mark, str(finding).removeprefix(f"{finding.mark}: "))
                for finding in invalid.findings
            ]
            raise ConfigurationInvalid(problems) from None

    def find(self, node: Node) -> str:
        """The mapping's name in a route. Raises YamlError where there is none."""
        name = node.as_text()
        if name not in self.names:
            raise node.error(
                f"{node.mark.path}: there is no mapping {name!r}, neither in {self.tenant / 'mappings'} nor "
                f"among the shipped ones{nearest(name, self.names)}"
            )
        return name


def parse_lookups(files: MappingFiles, texts: Mapping[str, str]) -> dict[str, Lookup]:
    """The tenant's crosswalk tables, ready for `compile_mapping`. Raises ConfigurationInvalid."""
    problems = Problems()
    tables: dict[str, Lookup] = {}
    for name, text in texts.items():
        file = str(files.tenant / "lookups" / f"{name}.csv")
        table = problems.attempt(partial(parse_lookup, text, file, name), None)
        if table is not None:
            tables[name] = table
    problems.raise_any()
    return tables


def read_text(path: Path) -> str:
    """A file's text without its byte order mark. Raises YamlError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise YamlError(Mark(str(path), 1, 1), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise YamlError(
            Mark(str(path), 1, 1), f"is not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from None


def _by_name(folder: Path) -> dict[str, Path]:
    for path in sorted(folder.rglob("*.yml")):
        raise YamlError(Mark(str(path), 1, 1), "is not read: rename it, mappings end in .yaml")
    return {
        path.relative_to(folder).as_posix().removesuffix(".yaml"): path
        for path in sorted(folder.rglob("*.yaml"))
        if not path.name.endswith(_CASES)
    }
