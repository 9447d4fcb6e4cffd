"""docs/erps.md shows what works: each tenant.yaml on it loads, and each mapping that ships is on it."""

import re
from contextlib import aclosing
from pathlib import Path

from bridge.shipped_files import shipped
from pipeline.jail.renderer import Renderer
from pipeline.tenants.folder import load_tenants

GUIDE = (Path(__file__).parents[2] / "docs/erps.md").read_text()
SECTIONS = re.split(r"^## ", GUIDE, flags=re.MULTILINE)
TENANTS = [
    (section, text)
    for section in SECTIONS
    for text in re.findall(r"```yaml tenant\n(.*?)```", section, re.DOTALL)
]
SHIPPED = sorted(
    file.relative_to(shipped("templates")).with_suffix("").as_posix()
    for file in shipped("templates").rglob("*.yaml")
    if not file.name.endswith(".cases.yaml")
)


async def test_the_tenants_of_the_guide_load_with_the_crosswalks_that_their_sections_name(
    tmp_path: Path,
) -> None:
    async with aclosing(Renderer()) as renderer:
        for number, (section, tenant_yaml) in enumerate(TENANTS):
            acme = tmp_path / str(number) / "acme"
            (acme / "lookups").mkdir(parents=True)
            for name in set(re.findall(r"`lookups/(\w+)\.csv`", section)):
                (acme / f"lookups/{name}.csv").write_text("fracttal;erp\n")
            (acme / "tenant.yaml").write_text(tenant_yaml)
            found = await load_tenants(acme.parent, shipped("templates"), renderer)
            assert (section.splitlines()[0], found.problems) == (section.splitlines()[0], ())
            assert len(found.tenants) == 1
    assert len(TENANTS) > 3


def test_each_mapping_that_ships_is_on_the_guide() -> None:
    shown = [name for name in SHIPPED if not name.startswith("generic_rest/")]
    assert [name for name in shown if f"`{name}`" not in GUIDE] == []
