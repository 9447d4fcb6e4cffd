"""docs/operator.md, "Dead letters": its commands show what it says."""

import re
import shlex
from pathlib import Path

from connectors.protocol import Answer
from tests.bridge.dlq_cli import Cli
from tests.pipeline.burying import Graveyard

GUIDE = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
SECTION = re.split(r"\n##+ ", GUIDE.partition("### Dead letters")[2], maxsplit=1)[0]
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?")


async def scene(graves: Graveyard) -> None:
    for key in (1201, 1202, 1203):
        lookup = "mappings/order.yaml:8: no row 'WEST' in crosswalk centres"
        await graves.bury(key, "mapping", class_="lookup", message=lookup)
    answer = Answer(422, {}, {"error": {"code": "ME/087"}})
    await graves.bury(1187, class_="ME/087", message="purchasing group 7 is not valid here", answer=answer)
    await graves.bury(
        1190, "uncertain", message="https://erp.example gave no answer after the request was sent"
    )


def test_its_commands_show_what_it_says(bridge: Cli) -> None:
    bridge.bury(scene)
    blocks = re.findall(r"```console\n(.*?)```", SECTION, re.DOTALL)
    calls = [call for block in blocks for call in block.split("$ bridge ")[1:]]
    for call in calls:
        command, _, written = call.partition("\n")
        said = bridge(*shlex.split(command)).output
        wanted, cut, _ = written.partition("…\n")
        if cut:
            said = said[: len(wanted)]
        assert MOMENT.sub("then", said).strip() == MOMENT.sub("then", wanted).strip(), command
    assert len(calls) == 7
    assert Path("dead.csv").read_text().startswith("id,")
