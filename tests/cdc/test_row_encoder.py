import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.built_in_types import BUILT_IN
from cdc.pgoutput import NULL, UNCHANGED, MessageInvalid, Row
from cdc.row_encoder import COMPILED, EncodedRow, RowEncoder, RowShape, ValueUnchanged
from eventbus.event import decode_event
from tests.cdc.pgoutput_stream import row as wire_row

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TYPED = {
    20: st.integers().map(str),
    16: st.sampled_from("tf"),
    25: TEXT,
    701: st.sampled_from(["NaN", "-Infinity", "1.5", "1e-07"]),
    1184: st.sampled_from(["2026-11-24 03:28:19+00", "infinity", "0044-03-15 12:00:00+00 BC"]),
    1009: st.sampled_from(["{a,NULL}", "[0:0]={x}"]),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[RowShape, Row]:
    names = draw(st.lists(TEXT, min_size=1, max_size=8, unique=True))
    places = st.lists(st.integers(0, len(names) - 1), unique=True).map(sorted).map(tuple)
    types = draw(st.lists(st.sampled_from(sorted(TYPED)), min_size=len(names), max_size=len(names)))
    row: Row = [draw(st.one_of(TYPED[oid], st.just(NULL))) for oid in types]
    tenant = draw(st.one_of(st.none(), st.integers(0, len(names) - 1)))
    forms = [BUILT_IN[oid] for oid in types]
    return RowShape(names, forms, draw(places), draw(places), tenant), row


@given(tables())
@example((RowShape(['{"q"}\\ñ\n', "'"], [BUILT_IN[25]] * 2, (0, 1), (0,)), ["a", "b"]))
def test_the_compiled_encoder_writes_what_the_plain_one_does(table: tuple[RowShape, Row]) -> None:
    shape, row = table
    encoder = RowEncoder(shape)
    encoded = EncodedRow(*encoder.encode(row))
    assert encoded == encoder.partial(row)
    assert list(decode_event(encoded.row.encode())) == [shape.names[place] for place in shape.published]


compiled = pytest.mark.skipif(not COMPILED, reason="built without a C compiler")


@compiled
@given(tables())
@example((RowShape(["a", "b"], [BUILT_IN[25]] * 2, (0, 1), (1, 0), 0), ['\x1f\n"\\\x7fñ€😀', ""]))
@example((RowShape(["t"], [BUILT_IN[1114]], (0,)), ["2026-11-24 03:28:19.5"]))
@example((RowShape(["n"], [BUILT_IN[1700]], (0,)), ["1273.10"]))
def test_the_compiled_reader_writes_what_parser_and_encoder_do(table: tuple[RowShape, Row]) -> None:
    shape, row = table
    encoder = RowEncoder(shape)
    sent = encoder.encode_sent(b"head" + wire_row(row), 4)
    assert sent == (encoder.encode(row) if set(shape.key) <= set(shape.published) else None)


@compiled
@given(tables(), st.data())
def test_the_compiled_reader_leaves_a_damaged_row_to_the_plain_way(
    table: tuple[RowShape, Row], data: st.DataObject
) -> None:
    shape, row = table
    whole = wire_row(row)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert RowEncoder(shape).encode_sent(cut, 0) is None


@compiled
@given(st.binary(max_size=40))
def test_the_compiled_reader_survives_any_bytes(garbage: bytes) -> None:
    encoder = RowEncoder(RowShape(["a", "b"], [BUILT_IN[25], BUILT_IN[1184]], (0, 1)))
    with contextlib.suppress(UnicodeDecodeError):
        encoder.encode_sent(b"\0\2" + garbage, 0)


@compiled
def test_unchanged_values_and_long_frames_go_the_plain_way() -> None:
    encoder = RowEncoder(RowShape(["a"], [BUILT_IN[25]], (0,)))
    assert encoder.encode_sent(wire_row([UNCHANGED]), 0) is None
    assert encoder.encode_sent(wire_row(["a"]) + b"more", 0) is None
    assert encoder.encode_sent(wire_row(["x" * 65_536]), 0) is None
    assert encoder.encode_sent(wire_row(["x" * 65_000]), 0) == encoder.encode(["x" * 65_000])


def test_a_wide_table_is_encoded() -> None:
    count = 1_600
    shape = RowShape([f"c{n}" for n in range(count)], [BUILT_IN[20]] * count, tuple(range(count)))
    _, key, row = RowEncoder(shape).encode([str(n) for n in range(count)])
    assert key == "null"
    assert decode_event(row.encode()) == {f"c{n}": n for n in range(count)}


@pytest.fixture
def encoder() -> RowEncoder:
    return RowEncoder(RowShape(["id", "note"], [BUILT_IN[20], BUILT_IN[25]], (0, 1), (0,)))


def test_only_partial_writes_a_row_with_unchanged_values(encoder: RowEncoder) -> None:
    row: Row = ["1", UNCHANGED]
    with pytest.raises(ValueUnchanged):
        encoder.encode(row)
    assert encoder.partial(row) == (None, '{"id":1}', '{"id":1}')
    assert encoder.unchanged(row) == ["note"]
    assert encoder.key([UNCHANGED, "x"]) == "null"


def test_a_mark_that_is_not_known_is_refused(encoder: RowEncoder) -> None:
    for encode in (encoder.encode, encoder.partial):
        with pytest.raises(MessageInvalid, match="kind 0x62"):
            encode(["1", 0x62])
