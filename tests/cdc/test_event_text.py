"""Both ways of writing an event, the compiled and the plain one, write the same bytes."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import event_text
from cdc.event_text import Target
from cdc.row_encoder import COMPILED

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.just("\udce9 is no UTF-8 \udcff")


@pytest.mark.skipif(not COMPILED, reason="built without a C compiler")
@given(
    st.tuples(st.integers(0, 2**64 - 1), st.none() | st.integers(0, 2**32 - 1), st.integers(0, 999_999)),
    st.tuples(TEXTS, TEXTS, TEXTS),
)
def test_both_write_the_same(transaction: tuple[int, int | None, int], json: tuple[str, str, str]) -> None:
    from cdc import wire_events  # noqa: PLC0415 - where it is compiled

    lsn, xid, microsecond = transaction
    target = Target("events.shop.ñ".encode(), '","op":"insert","tenant":"ñ","source":{"lsn":"')
    written = []
    for module in (wire_events, event_text):
        within = module.Transaction("shop@2:", lsn, xid, "2026-11-24T03:28:19", microsecond)
        first = module.event_of(within, 2**40 + 7, target, *json)
        written.append(
            (first, module.event_of(within, 0, target, *json), within.id_prefix, within.ordinal, within.lsn)
        )
    assert written[0] == written[1]


@pytest.mark.skipif(
    "CI" not in os.environ or shutil.which("cc") is None, reason="no C compiler is promised here"
)
def test_it_is_compiled_where_there_is_a_compiler() -> None:
    assert COMPILED
