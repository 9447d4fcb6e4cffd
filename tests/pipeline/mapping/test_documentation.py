"""docs/mappings.md says what is true: its examples are run, and it leaves nothing out."""

import re
from pathlib import Path

import pytest

from bridge.shipped_files import shipped
from eventbus.event import decode_json, encode_json
from pipeline.mapping import RenderInput, compile_mapping
from pipeline.mapping.cases import read_cases, run_cases
from pipeline.mapping.compile import KEYS
from pipeline.mapping.filters import NAMES
from pipeline.mapping.predicates import _WITH_ARGUMENT, _WITHOUT_ARGUMENT
from pipeline.mapping.scope import NAMES as CONTEXT
from pipeline.mapping.structure import RESERVED
from pipeline.tenants.mapping_files import MappingFiles

GUIDE = (Path(__file__).parents[3] / "docs" / "mappings.md").read_text()
MAPPINGS = re.findall(r"```yaml mapping\n(.*?)```", GUIDE, re.DOTALL)
CASES = re.findall(r"```yaml cases\n(.*?)```", GUIDE, re.DOTALL)
TABLES = re.findall(r"\| written \| gives \|\n\|---\|---\|\n((?:\|.*\n)+)", GUIDE.replace(r"\|", "¦"))
ROWS = re.findall(r"^\| `(.*)` \| `(.*)` \|$", "".join(TABLES), re.MULTILINE)
AFTER = decode_json(re.findall(r"```json after\n(.*?)```", GUIDE, re.DOTALL)[0].encode())


@pytest.mark.parametrize(("mapping", "cases"), list(zip(MAPPINGS, CASES, strict=True)))
def test_the_mappings_of_the_guide_do_what_their_cases_say(mapping: str, cases: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(mapping)
    text = MappingFiles(None, shipped("templates")).read(tmp_path / "m.yaml")
    results = run_cases(text, read_cases(cases, "docs/mappings.md"), {})
    assert results
    assert [result.problem for result in results if result.problem] == []


@pytest.mark.parametrize(("written", "gives"), ROWS)
def test_the_tables_of_the_guide(written: str, gives: str) -> None:
    leaf = encode_json(written.replace("¦", "|")).decode()
    text = (
        f"source: {{table: public.t}}\nconnector: rest\nrequest: {{method: POST, path: /x, body: [{leaf}]}}"
    )
    event = {"op": "insert", "tenant": "1", "source": {"schema": "public", "table": "t"}, "after": AFTER}
    mapping = compile_mapping(text, file="docs/mappings.md", name="m")
    rendered = mapping.render(RenderInput(event, "acme", "r", {}, "d", "America/Santiago"))
    wanted = decode_json(gives.encode())
    assert encode_json(rendered.request["body"]) == encode_json([wanted])  # type: ignore[union-attr]


def test_the_guide_leaves_nothing_out() -> None:
    assert len(ROWS) == "".join(TABLES).count("\n") > 30
    classes = set()
    for file in (Path(__file__).parents[3] / "pipeline" / "mapping").glob("*.py"):
        classes |= set(re.findall(r"(?:RenderError|EvaluationError)\(\s*\"([a-z_]+)\"", file.read_text()))
    assert len(classes) > 8
    tests = {name for name in (*_WITH_ARGUMENT, *_WITHOUT_ARGUMENT) if name.isalpha()} - {
        "equalto", "lessthan", "greaterthan", "null", "truthy",
    }  # fmt: skip
    for name in (*NAMES, *KEYS, *CONTEXT, *RESERVED, *classes, *tests):
        assert f"`{name}" in GUIDE or f"{name}`" in GUIDE or f" {name} " in GUIDE, name
