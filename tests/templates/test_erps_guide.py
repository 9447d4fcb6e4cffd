"""docs/erps.md shows what works: each tenant.yaml on it loads, and each mapping that ships is on it."""

import re
from contextlib import aclosing
from pathlib import Path

import pytest

from bridge.shipped_files import shipped
from pipeline.jail.renderer import Renderer
from pipeline.tenants.folder import load_tenants

GUIDE = (Path(__file__).parents[2] / "docs/erps.md").read_text()
SECTIONS = re.split(r"^## ", GUIDE, flags=re.MULTILINE)
TENANTS = [
    pytest.param(section, text, id=f"{section.splitlines()[0]} {number}")
    for section in SECTIONS
    for number, text in enumerate(re.findall(r"```yaml tenant\n(.*?)```", section, re.DOTALL), 1)
]
SHIPPED = sorted(
    file.relative_to(shipped("templates")).with_suffix("").as_posix()
    for file in shipped("templates").rglob("*.yaml")
    if not file.name.endswith(".cases.yaml")
)


@pytest.mark.parametrize(("section", "tenant_yaml"), TENANTS)
async def test_a_tenant_of_the_guide_loads_with_the_crosswalks_that_its_section_names(
    section: str, tenant_yaml: str, tmp_path: Path
) -> None:
    acme = tmp_path / "tenants/acme"
    (acme / "lookups").mkdir(parents=True)
    for name in set(re.findall(r"`lookups/(\w+)\.csv`", section)):
        (acme / f"lookups/{name}.csv").write_text("fracttal;erp\n")
    (acme / "tenant.yaml").write_text(tenant_yaml)
    async with aclosing(Renderer()) as renderer:
        found = await load_tenants(acme.parent, shipped("templates"), renderer)
    assert found.problems == ()
    assert len(found.tenants) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_each_mapping_that_ships_is_on_the_guide(name: str) -> None:
    if not name.startswith("generic_rest/"):
        assert f"`{name}`" in GUIDE
