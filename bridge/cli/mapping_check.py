"""Which mappings `bridge mapping check` looks at, and what it finds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.cli.errors import Usage
from bridge.shipped_files import shipped
from pipeline.jail.frames import MappingSource
from pipeline.jail.renderer import REPORT, RenderDefect, Renderer
from pipeline.jail.work import CasesGiven
from pipeline.mapping import (
    Finding,
    Lookup,
    MappingFacts,
    MappingInvalid,
    MappingText,
    RenderError,
    parse_lookup,
)
from pipeline.mapping.cases import CaseResult, read_cases
from pipeline.mapping.written_cases import says_complete
from pipeline.tenants.mapping_files import MappingFiles, compiled, read_text
from pipeline.yaml_tree import Mark, YamlError

CASES = ".cases.yaml"
_NO_MAPPINGS = ("tenant.yaml", "bridge.yaml")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say. level: `error`, `warning` or `ok`."""

    level: str
    mapping: str
    message: str
    mark: Mark | None = None
    case: str = ""
    expression: str = ""

    def to_json(self) -> dict[str, Any]:
        where = (
            {"file": self.mark.file, "line": self.mark.line, "column": self.mark.column} if self.mark else {}
        )
        more = {"case": self.case} if self.case else {}
        more |= {"expression": self.expression} if self.expression else {}
        return {"level": self.level, "mapping": self.mapping, **where, **more, "message": self.message}

    def __str__(self) -> str:
        where = f"{self.mark}: " if self.mark else f"{self.mapping}: "
        case = f"case {self.case!r}: " if self.case else ""
        written = f" — in `{self.expression}`" if self.expression else ""
        return f"{self.level:8}{where}{case}{self.message}{written}"


@dataclass(slots=True)
class Report:
    """What was found so far."""

    lines: list[Line] = field(default_factory=list)
    mappings: list[MappingFacts] = field(default_factory=list)
    cases: int = 0

    @property
    def errors(self) -> int:
        return sum(line.level == "error" for line in self.lines)

    def finding(self, level: str, mapping: str, finding: Finding) -> None:
        self.lines.append(
            Line(
                level, mapping, finding.message, finding.mark, expression=" ".join(finding.expression.split())
            )
        )

    def compiled(self, mapping: MappingFacts) -> None:
        self.mappings.append(mapping)
        for warning in mapping.warnings:
            self.finding("warning", mapping.file, warning)

    def case(self, mapping: str, result: CaseResult) -> None:
        self.cases += 1
        level, message = ("error", result.problem) if result.problem else ("ok", "holds")
        self.lines.append(Line(level, mapping, message, result.case.mark, result.case.name))

    def summary(self, mappings: int) -> str:
        warnings = sum(line.level == "warning" for line in self.lines)
        checked = f"{counted(mappings, 'mapping')}, {counted(self.cases, 'case')}"
        return f"{checked}: {counted(self.errors, 'error')}, {counted(warnings, 'warning')}"


def counted(count: int, word: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def mapping_files(paths: Iterable[Path]) -> list[Path]:
    """The mappings below the paths; a cases file stands for its mapping. Raises Usage."""
    found: dict[Path, None] = {}
    for path in paths:
        for file in _below(path):
            found[file] = None
    return list(found)


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*.yaml")) if _is_mapping(file)]
        if not files:
            raise Usage(f"{path}: there is no mapping (*.yaml) below this folder")
        return files
    if path.name.endswith(CASES):
        path = path.with_name(path.name.removesuffix(CASES) + ".yaml")
    if not path.is_file():
        raise Usage(f"{path}: there is no such file or folder")
    return [path]


def _is_mapping(file: Path) -> bool:
    return not file.name.endswith(CASES) and file.name not in _NO_MAPPINGS


async def check_files(files: Iterable[Path], report: Report, renderer: Renderer) -> None:
    """Compile each mapping and run its cases; everything goes into the report. Raises RendererBroken."""
    for file in files:
        try:
            await _check(file, report, renderer)
        except MappingInvalid as invalid:
            for finding in invalid.findings:
                report.finding("error", str(file), finding)
        except YamlError as error:
            report.finding("error", str(file), Finding.of(error))
        except RenderError as error:
            report.finding("error", str(file), Finding(error.mark, error.message, error.expression))
        except RenderDefect as error:
            report.finding("error", str(file), Finding(Mark(str(file), 1, 1), f"{error}. {REPORT}"))


async def _check(file: Path, report: Report, renderer: Renderer) -> None:
    text, lookups = mapping_text(file), tenant_lookups(file)
    cases_file = file.with_name(file.stem + CASES)
    if not cases_file.is_file():
        report.compiled(await compiled(renderer, text, file.stem, lookups))
        level = "error" if _is_shipped(file) else "warning"
        report.lines.append(Line(level, str(file), f"has no cases; write {cases_file.name} beside it"))
        return
    written = read_text(cases_file, _tenant_of(file))
    cases = read_cases(written, str(cases_file))
    known = None if any(case.lookups for case in cases) else lookups
    report.compiled(await compiled(renderer, text, file.stem, known))
    source = MappingSource.of(text, lookup_texts(file) or {})
    given = CasesGiven(text.file, str(cases_file), written)
    zones = {case.timezone for case in cases}
    problems = await renderer.problems(source, given, zones)
    for case, problem in zip(cases, problems, strict=True):
        report.case(str(file), CaseResult(case, problem))
    if says_complete(written, str(cases_file)) and not any(problems):
        for finding in await renderer.unnoticed(source, given, zones):
            report.finding("error", str(file), finding)


def _is_shipped(file: Path) -> bool:
    return file.resolve().is_relative_to(shipped("templates").resolve())


def mapping_text(file: Path) -> MappingText:
    """A mapping's file with what it extends and names: in a tenant's folder that tenant's own and the shipped ones.

    Raises YamlError.
    """
    return MappingFiles(_tenant_of(file), shipped("templates")).read(file)


def _tenant_of(file: Path) -> Path | None:
    """The folder of the tenant whose mapping this is; None outside of tenants' folders."""
    for folder in file.absolute().parents:
        if folder.name == "mappings" and (folder.parent / "tenant.yaml").is_file():
            return folder.parent
    return None


def tenant_lookups(file: Path) -> dict[str, Lookup] | None:
    """The lookups of the tenant whose mapping this is; None for a mapping outside a tenant's folder.

    Raises:
        YamlError: one of its CSV files is not valid.
    """
    tenant, texts = _tenant_of(file), lookup_texts(file)
    if tenant is None or texts is None:
        return None
    folder = tenant / "lookups"
    return {name: parse_lookup(text, str(folder / f"{name}.csv"), name) for name, text in texts.items()}


def lookup_texts(file: Path) -> dict[str, str] | None:
    """As `tenant_lookups`, as they are written."""
    tenant = _tenant_of(file)
    return None if tenant is None else MappingFiles(tenant, shipped("templates")).lookups()
