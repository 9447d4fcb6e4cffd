"""The shipped mappings: their cases hold, and notice whatever is taken out of the mapping, or of the cases."""

import json

import pytest
from click.testing import CliRunner

from bridge.cli.main import main
from bridge.shipped_files import shipped
from pipeline.mapping import MappingInvalid, MappingText
from pipeline.mapping.cases import Case, lookups_of, problem_of, read_cases, run_cases
from pipeline.mapping.compile import compile_tree_of
from pipeline.mapping.completeness import unnoticed
from pipeline.mapping.errors import Finding
from pipeline.mapping.extends import merged
from pipeline.mapping.removals import removals
from pipeline.mapping.syntax import remembering
from pipeline.mapping.written_cases import says_complete
from pipeline.yaml_tree import YamlError

ROOT = shipped("templates")
TEMPLATES = sorted(
    file.relative_to(ROOT).with_suffix("").as_posix()
    for file in ROOT.rglob("*.yaml")
    if not file.name.endswith(".cases.yaml")
)
NOT_SEEN = ("description", "required", "extends")
"""Keys of lines that no request shows: words for people, and what `tenant apply` holds routes to."""


def written(name: str) -> str:
    return (ROOT / f"{name}.yaml").read_text()


def cases_of(name: str) -> list[Case]:
    file = ROOT / f"{name}.cases.yaml"
    return read_cases(file.read_text(), str(file))


def problems(mapping: str, cases: list[Case]) -> list[str]:
    """What `bridge mapping check` would call errors."""
    text = MappingText("m.yaml", mapping)
    try:
        failed = [result.problem for result in run_cases(text, cases, {}) if result.problem]
        return failed or [str(finding) for finding in unnoticed(text, cases, {}) if finding]
    except MappingInvalid as invalid:
        return [str(finding) for finding in invalid.findings]
    except YamlError as error:
        return [str(Finding.of(error))]


def test_cases_of_shipped_mappings_hold_and_notice_everything() -> None:
    """As people check them, in the processes that render, which can load nothing any more."""
    result = CliRunner().invoke(main, ["mapping", "check", str(ROOT), "--json"])
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line for line in told if line["level"] == "error"] == []
    assert result.exit_code == 0
    assert {line["mapping"] for line in told} == {str(ROOT / f"{name}.yaml") for name in TEMPLATES}


def test_cases_of_shipped_mappings_promise_it() -> None:
    incomplete = {
        name
        for name in TEMPLATES
        if not says_complete((ROOT / f"{name}.cases.yaml").read_text(), f"{name}.cases.yaml")
    }
    assert incomplete == set()


def without_a_line(text: str) -> list[tuple[str, str]]:
    """Each line that says something, and the text without it: as somebody would who knows nothing of YAML."""
    lines = text.splitlines(keepends=True)
    return [
        (line.strip(), "".join(lines[:number] + lines[number + 1 :]))
        for number, line in enumerate(lines)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def check_lines(name: str) -> None:
    cases = cases_of(name)
    unseen = [line for line, rest in without_a_line(written(name)) if not problems(rest, cases)]
    assert [line for line in unseen if not any(word in line for word in NOT_SEEN)] == []


def test_a_line_that_is_gone_is_noticed() -> None:
    check_lines("generic_rest/work_order")


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_any_line_that_is_gone_is_noticed(name: str) -> None:
    check_lines(name)


def needed(name: str) -> set[str]:
    """Cases that notice something alone: without one of them the check is red."""
    text, cases = MappingText(name, written(name)), cases_of(name)
    tables = {str(case.lookups): lookups_of(case) for case in cases}
    alone: set[str] = set()
    with remembering({}):
        for _, without in removals(merged(text)):
            try:
                lacking = {key: compile_tree_of(without, text, "", tables[key]) for key in tables}
            except MappingInvalid:
                continue  # whatever the cases say
            noticing = [case.name for case in cases if problem_of(lacking[str(case.lookups)], case)]
            if len(noticing) == 1:
                alone.update(noticing)
    return alone


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_case_that_is_gone_is_noticed_unless_others_say_the_same(name: str) -> None:
    """Two in three at least: what remains shows a reader how codes and texts come out."""
    cases = {case.name for case in cases_of(name)}
    assert 3 * len(needed(name)) >= 2 * len(cases), cases - needed(name)
