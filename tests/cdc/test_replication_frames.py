import struct

import pytest

from cdc.replication_frames import (
    MESSAGE_AT,
    FrameInvalid,
    Keepalive,
    parse_keepalive,
    status_update,
    wal_start,
)


def test_xlog_data_gives_its_start_and_the_plugins_bytes() -> None:
    frame = b"w" + struct.pack(">QQq", 0x16B3748, 0x16B3800, 1) + b"Bytes"
    assert wal_start(frame) == 0x16B3748
    assert frame[MESSAGE_AT:] == b"Bytes"


@pytest.mark.parametrize("asks", [True, False])
def test_keepalive_gives_the_servers_end_and_whether_it_asks(asks: bool) -> None:  # noqa: FBT001 - a parameter
    assert parse_keepalive(b"k" + struct.pack(">QqB", 77, 5, asks)) == Keepalive(77, 5, asks)


@pytest.mark.parametrize("frame", [b"", b"k" + bytes(16), b"k" + bytes(18), b"x" + bytes(17)])
def test_anything_else_is_refused(frame: bytes) -> None:
    with pytest.raises(FrameInvalid, match=f"{len(frame)} bytes"):
        parse_keepalive(frame)


def test_a_status_update_confirms_one_position_for_written_flushed_and_applied() -> None:
    update = status_update(0x1_0000_0002, 946_684_800.5, reply=True)
    assert struct.unpack(">cQQQqB", update) == (b"r", *[0x1_0000_0002] * 3, 500_000, 1)
