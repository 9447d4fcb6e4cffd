"""What rendering asks for and is told crosses processes: pickled, and as JSON."""

import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connectors.protocol import Answer
from pipeline.mapping import (
    ColumnsRead,
    Done,
    Known,
    MappingInvalid,
    Needs,
    Rendered,
    RenderError,
    RenderInput,
    Result,
    RowsRead,
    SavedRead,
    Skipped,
    Waits,
    compile_mapping,
)
from pipeline.mapping.known import saved_key
from pipeline.yaml_tree import Mark

COST = Decimal("1273.10")
READS = (
    RowsRead("parts", "public.parts", (("id_work_order", 7), ("cost", COST)), many=True, limit=1000),
    RowsRead("asset", "public.assets", (("id", [1, 2]),), columns=("id",), order_by=(("at", True),)),
    ColumnsRead("public.work_orders", {"id": 7}, ("photo",)),
    SavedRead("vendors", '["5"]', "id"),
)
RESULTS = [
    Rendered({"body": {"cost": COST}}, step="create", reads=True, repeat="find", last=False),
    Skipped("steps"),
    Needs(READS),
    Waits("nothing saved", "m.yaml", 3, "wait_for('a', 1, 'b')"),
    Done({"id": COST}, ("x",), found=True),
]
KNOWN = Known(
    rows={"parts": [{"id": 1, "cost": COST}]},
    saved={READS[3].id: "V-1"},
    columns={"photo": None},
    answers={"find": Answer(200, {"etag": "x"}, {"value": [COST]})},
    unsure=frozenset({"create"}),
)
INPUT = RenderInput({"id": "e", "after": {"cost": COST}}, "acme", "r", {"p": 1}, "e/acme/r", known=KNOWN)


@pytest.mark.parametrize("value", [*RESULTS, KNOWN, INPUT], ids=lambda value: type(value).__name__)
def test_all_of_it_crosses_processes(value: Any) -> None:
    kind: Any = Result if isinstance(value, Result) else type(value)
    assert pickle.loads(pickle.dumps(value)) == value
    payload = msgspec.json.Encoder(decimal_format="number").encode(value)
    back = msgspec.json.Decoder(kind, float_hook=Decimal).decode(payload)
    assert back == value
    assert repr(back) == repr(value)  # digits as they were


def test_errors_cross_processes() -> None:
    error = RenderError("missing", "no column", Mark("m.yaml", 3, 4), "{{ after.x }}")
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.class_, back.line) == (str(error), "missing", 3)
    with pytest.raises(MappingInvalid) as caught:
        compile_mapping("connector: [", file="m.yaml", name="m")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"), [({"id": 5}, 5), (5, "5"), ({"b": 1, "a": "x"}, {"a": "x", "b": 1}), (None, None)]
)
def test_a_key_is_found_however_it_is_written(one: Any, other: Any) -> None:
    assert saved_key(one) == saved_key(other)
    assert saved_key(one) != saved_key([one])
