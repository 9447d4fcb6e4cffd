"""The mappings and crosswalk tables of one tenant's folder, and the shipped mappings behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from pipeline.jail.frames import MappingSource
from pipeline.jail.renderer import Renderer
from pipeline.mapping import Lookup, MappingFacts, MappingInvalid, MappingText, parse_lookup
from pipeline.mapping.extends import EXTENDS, named_base
from pipeline.mapping.lookups import header_of
from pipeline.mapping.payload import SCHEMA, named_files
from pipeline.problems import ConfigurationInvalid, Problems
from pipeline.yaml_nodes import Mark, Node, ScalarNode, YamlError, nearest
from pipeline.yaml_tree import load

CASES = ".cases.yaml"
LARGEST = 64 * 2**20
"""Bytes of one file: more than any NATS message has room for."""
DEEPEST = 16
"""So many mappings may stand one on the other: a chain is read once for each of its members."""
SHIPPED = "templates/"
"""How the file name of a shipped mapping begins, in a version."""


class SharedFiles:
    """What is found out once for the thousands of tenants of a folder."""

    def __init__(self) -> None:
        self._below: dict[Path, dict[str, Path]] = {}
        self._is_below: dict[tuple[Path, Path], bool] = {}

    def below(self, folder: Path) -> dict[str, Path]:
        """The mappings of a folder, by name."""
        if folder not in self._below:
            self._below[folder] = _by_name(folder)
        return self._below[folder]

    def is_below(self, path: Path, folder: Path) -> bool:
        """Wherever links lead."""
        asked = path, folder
        if asked not in self._is_below:
            self._is_below[asked] = path.resolve().is_relative_to(folder.resolve())
        return self._is_below[asked]


@dataclass(frozen=True)
class MappingFiles:
    """Where one tenant's mappings are looked up: first its own folder, then the shipped one (`templates/`).

    A mapping's name is its path below the folder, without `.yaml`: `sap_s4hana/purchase_requisition`. tenant: None: the
    shipped ones alone.
    """

    tenant: Path | None
    shipped: Path
    shared: SharedFiles = field(default_factory=SharedFiles)

    @cached_property
    def own(self) -> dict[str, Path]:
        """The tenant's own, by name."""
        return {} if self.tenant is None else _by_name(self.tenant / "mappings")

    @cached_property
    def shipped_ones(self) -> dict[str, Path]:
        return self.shared.below(self.shipped)

    @cached_property
    def names(self) -> set[str]:
        """Every name that a route may use."""
        return {*self.own, *self.shipped_ones}

    def path(self, name: str) -> Path:
        """A known name's file."""
        return self.own.get(name) or self.shipped_ones[name]

    def stored(self, name: str) -> MappingText:
        """As a version holds it, with all that it names; its file names are the same on every machine.

        Raises YamlError: a file that it names is not there, or it extends itself.
        """
        return self._under(self.read(self.path(name)))

    @cached_property
    def _read(self) -> dict[Path, MappingText]:
        return {}

    def read(self, path: Path) -> MappingText:
        """A mapping's file with all that it names, each under its path. Raises YamlError as `stored` does."""
        if path not in self._read:
            self._read[path] = self._read_anew(path)
        return self._read[path]

    def _read_anew(self, path: Path) -> MappingText:
        chain = [path]
        texts = [self._text(path)]
        while (named := _references(texts[-1], str(chain[-1]))[0]) is not None:
            base = self._base(named, chain)
            if len(chain) > DEEPEST:
                raise named.error(
                    f"extends: more than {DEEPEST} mappings, one extending the next; write some of them out"
                )
            chain.append(base)
            texts.append(self._text(base))
        found = [
            MappingText(str(file), text, files=self._named(file, text))
            for file, text in zip(chain, texts, strict=True)
        ]
        return replace(found[0], bases=tuple(found[1:]))

    def _named(self, path: Path, text: str) -> dict[str, str]:
        """The files that a mapping names, which stand beside it or in folders there. Raises YamlError."""
        files: dict[str, str] = {}
        for node in _references(text, str(path))[1]:
            name = node.as_text()
            beside = PurePosixPath(name)
            if beside.is_absolute() or ".." in beside.parts:
                raise node.error(f"{node.mark.path}: a file beside the mapping, not {name!r}")
            if not (path.parent / beside).is_file():
                raise node.error(f"{node.mark.path}: there is no file {name!r} beside the mapping")
            files[name] = self._text(path.parent / beside)
        return files

    def _text(self, path: Path) -> str:
        own = self.tenant is not None and path.is_relative_to(self.tenant)
        return read_text(path, self.tenant if own else None)

    def _base(self, named: ScalarNode, chain: Sequence[Path]) -> Path:
        """The file behind `extends`: never the one that says so, so that a tenant's own may extend a shipped namesake."""
        name, by = named.text.strip(), chain[-1].resolve()
        folders = (self.own, self.shipped_ones) if self._is_own(by) else (self.shipped_ones,)
        candidates = [folder[name] for folder in folders if name in folder]
        base = next((path for path in candidates if path.resolve() != by), None)
        if base is None:
            why = "it would extend itself" if candidates else f"there is no mapping {name!r}"
            raise named.error(f"extends: {why}{nearest(name, self.names - {name})}")
        passed = [path.resolve() for path in chain]
        if base.resolve() in passed:
            circle = " → ".join(str(path) for path in [*chain[passed.index(base.resolve()) :], base])
            raise named.error(f"extends goes in a circle: {circle}")
        return base

    def _is_own(self, path: Path) -> bool:
        """Whether it may extend the tenant's own mappings; the shipped ones mean shipped ones, whatever a tenant has."""
        return not self.shared.is_below(path, self.shipped)

    def _under(self, text: MappingText) -> MappingText:
        path = Path(text.file)
        base = self.shipped.parent if self.tenant is None or not self._is_own(path) else self.tenant.parent
        return replace(
            text,
            file=path.relative_to(base).as_posix(),
            bases=tuple(self._under(each) for each in text.bases),
        )

    def lookups(self) -> dict[str, str]:
        """The texts of `lookups/*.csv`, by name."""
        if self.tenant is None:
            return {}
        return {path.stem: self._text(path) for path in sorted((self.tenant / "lookups").glob("*.csv"))}

    def beside(self, path: str) -> str:
        """Another file of the tenant's folder, by its path in there. Raises YamlError."""
        assert self.tenant is not None, "only tenants have connections"
        below = PurePosixPath(path)
        if below.is_absolute() or ".." in below.parts:
            raise YamlError(Mark(str(self.tenant), 1, 1), f"a file of the tenant's folder, not {path!r}")
        return self._text(self.tenant / below)

    async def compile(self, name: str, lookups: Mapping[str, Lookup], renderer: Renderer) -> MappingFacts:
        """Raises ConfigurationInvalid with every finding, YamlError, RendererBroken."""
        try:
            return await compiled(renderer, self.read(self.path(name)), name, lookups)
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
            own = f"neither in {self.tenant / 'mappings'} nor " if self.tenant else "not "
            raise node.error(
                f"{node.mark.path}: there is no mapping {name!r}, {own}"
                f"among the shipped ones{nearest(name, self.names)}"
            )
        return name


async def compiled(
    renderer: Renderer, text: MappingText, name: str, lookups: Mapping[str, Lookup] | None = None
) -> MappingFacts:
    """As `compile_stored`; only the `version` is not that of a tenant, since no row of a crosswalk is looked at.

    Raises MappingInvalid, RendererBroken.
    """
    headers = None if lookups is None else {each: header_of(lookups[each]) for each in lookups}
    return (await renderer.mapping("", name, text.file, MappingSource.of(text, headers))).facts


@lru_cache(maxsize=256)  # thousands of tenants name the same shipped ones
def _references(text: str, file: str) -> tuple[ScalarNode | None, tuple[ScalarNode, ...]]:
    """What a mapping extends, and the files it names. Raises YamlError."""
    if EXTENDS not in text and SCHEMA not in text:  # most of them: compiling says what is wrong with it
        return None, ()
    root = load(text, file)
    return named_base(root), tuple(named_files(root))


def parse_lookups(files: MappingFiles, texts: Mapping[str, str]) -> dict[str, Lookup]:
    """The tenant's crosswalk tables, ready for `compile_mapping`. Raises ConfigurationInvalid."""
    problems = Problems()
    tables: dict[str, Lookup] = {}
    for name, text in texts.items():
        file = str((files.tenant or Path()) / "lookups" / f"{name}.csv")
        table = problems.attempt(partial(parse_lookup, text, file, name), None)
        if table is not None:
            tables[name] = table
    problems.raise_any()
    return tables


def read_text(path: Path, within: Path | None = None) -> str:
    """A file's text without its byte order mark. within: the folder that it must not be a way out of, whoever wrote
    what is in there. Raises YamlError.
    """
    mark = Mark(str(path), 1, 1)
    try:
        if within is not None and _leads_out(path, within):
            raise YamlError(mark, f"is a link that leads out of {within}; put the file itself there")
        found = path.stat()
        if not S_ISREG(found.st_mode):
            raise YamlError(mark, "is no file")
        if found.st_size > LARGEST:
            raise YamlError(mark, f"is larger than {LARGEST} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise YamlError(mark, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise YamlError(mark, f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None


def _leads_out(path: Path, within: Path) -> bool:
    """Raises OSError."""
    below = path.absolute().relative_to(within.absolute()).parts
    if not any(within.joinpath(*below[:n]).is_symlink() for n in range(1, len(below) + 1)):
        return False  # as nearly always, and cheaper than to resolve
    return not path.resolve(strict=True).is_relative_to(within.resolve())


def _by_name(folder: Path) -> dict[str, Path]:
    for path in sorted(folder.rglob("*.yml")):
        raise YamlError(Mark(str(path), 1, 1), "is not read: rename it, mappings end in .yaml")
    return {
        path.relative_to(folder).as_posix().removesuffix(".yaml"): path
        for path in sorted(folder.rglob("*.yaml"))
        if not path.name.endswith(CASES)
    }
