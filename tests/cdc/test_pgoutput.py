import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc import pgoutput
from cdc.pgoutput import NULL, UNCHANGED, MessageInvalid, Row
from tests.cdc.pgoutput_stream import row as row_bytes

VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from([NULL, UNCHANGED]),
)


@given(st.lists(VALUES, max_size=20))
@example(["t" * 116, "", "t", "nut", NULL, UNCHANGED, "t", "n", "t" * 117])
@example(["x" * 0x7400, "t", NULL])  # lengths whose bytes look like a column's beginning
@example(["x" * 0x74, "y" * 0x7474, "t"])
@example(["é" * 200] * 116)
@example([NULL] * 200)
@example(["x" * 70_000, "t", NULL, "y" * 0x740000])
def test_a_row_is_read_as_it_was_written(row: Row) -> None:
    assert pgoutput.parse_row(b"I\0\0\0\1N" + row_bytes(row)) == row


@given(st.lists(st.tuples(VALUES, VALUES), max_size=20))
@example([("t", "N"), (NULL, UNCHANGED), ("x" * 116, "N")])
@example([("a", "b")] * 116)
@example([("a", "b")] * 130)
@example([("x" * 70_000, "b")])
def test_an_update_gives_the_old_and_the_new_row(pairs: list[tuple[str | int, str | int]]) -> None:
    old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    payload = b"U\0\0\0\1K" + row_bytes(old) + b"N" + row_bytes(new)
    assert pgoutput.parse_two_rows(payload) == (old, new)


def test_the_second_row_must_be_the_new_one() -> None:
    with pytest.raises(MessageInvalid, match="expected the new row"):
        pgoutput.parse_two_rows(b"U\0\0\0\1K" + row_bytes(["a"]) + b"O" + row_bytes(["b"]))


def test_a_relation_says_its_columns_types_and_identity() -> None:
    payload = (
        b"R\0\0\x40\x10public\0work orders\0i\0\2"
        b"\1id\0" + struct.pack(">Ii", 20, -1) + b"\0cost\0" + struct.pack(">Ii", 1700, 5)
    )
    assert pgoutput.parse_relation(payload) == pgoutput.Relation(
        0x4010,
        "public",
        "work orders",
        "i",
        (pgoutput.Column("id", 20, identity=True), pgoutput.Column("cost", 1700, identity=False)),
    )


def test_pg_catalog_is_sent_as_an_empty_name() -> None:
    assert pgoutput.parse_type(b"Y\0\0\x40\x11\0int4\0") == pgoutput.Type(0x4011, "pg_catalog", "int4")
    assert pgoutput.parse_relation(b"R\0\0\0\1\0pg_class\0n\0\0").schema == "pg_catalog"


def test_a_truncate_names_all_its_relations() -> None:
    assert pgoutput.parse_truncate(b"T\0\0\0\2\1\0\0\0\7\0\0\0\x09") == [b"\0\0\0\7", b"\0\0\0\x09"]
    with pytest.raises(MessageInvalid, match="2 relations"):
        pgoutput.parse_truncate(b"T\0\0\0\2\1\0\0\0\7")


def test_a_logical_message_says_where_it_belongs() -> None:
    payload = b"M\0" + struct.pack(">Q", 0x16B3748) + b"bridge.outbox\0" + struct.pack(">I", 2) + b"{}"
    message = pgoutput.parse_message(payload)
    assert message == pgoutput.LogicalMessage(
        transactional=False, lsn=0x16B3748, prefix="bridge.outbox", content=b"{}"
    )
