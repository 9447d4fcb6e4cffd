"""Frames of the streaming replication protocol inside CopyData (PostgreSQL documentation, 55.4).

From the server: 'w' XLogData and 'k' keepalive; to it: 'r' standby status update. LSNs are numbers, times are
microseconds since 2000-01-01 UTC, as PostgreSQL counts them.
"""

import struct
from typing import NamedTuple

from eventbus.lsn import format_lsn

XLOG_DATA = 0x77  # 'w'
KEEPALIVE = 0x6B  # 'k'

MESSAGE_AT = 25
"""Where in an XLogData frame the plugin's message begins; before it: tag, its LSN, the server's WAL end and clock."""
_KEEPALIVE = struct.Struct(">xQqB")
_STATUS = struct.Struct(">cQQQqB")
_SENT_AT = struct.Struct(">17xq")
_XLOG_DATA = struct.Struct(">cQQq")
_WAL_START = struct.Struct(">xQ")
_UNIX_TO_POSTGRES = 946_684_800


class FrameInvalid(ValueError):
    """The server sent what the streaming replication protocol does not know."""


class Keepalive(NamedTuple):
    """`wal_end`: how far the server has sent; `reply`: it wants an answer now, or it will hang up."""

    wal_end: int
    sent_at: int
    reply: bool


def wal_start(xlog_data: bytes) -> int:
    """The LSN of what an XLogData frame carries; 0 for relation and type messages."""
    lsn: int = _WAL_START.unpack_from(xlog_data)[0]
    return lsn


def sent_at(xlog_data: bytes) -> int:
    """The server's clock when it sent an XLogData frame."""
    sent: int = _SENT_AT.unpack_from(xlog_data)[0]
    return sent


def xlog_data(lsn: int, payload: bytes) -> bytes:
    """The frame that carries a message of the plugin's; `wal_start` tells `lsn`."""
    return _XLOG_DATA.pack(b"w", lsn, lsn, 0) + payload


def parse_keepalive(frame: bytes) -> Keepalive:
    """A frame that is no XLogData. Raises FrameInvalid."""
    if len(frame) != _KEEPALIVE.size or frame[0] != KEEPALIVE:
        raise FrameInvalid(f"not a replication frame: {len(frame)} bytes beginning {frame[:25].hex()}")
    wal_end, sent_at, reply = _KEEPALIVE.unpack(frame)
    return Keepalive(wal_end, sent_at, reply == 1)


def status_update(confirmed: int, now: float, *, reply: bool = False) -> bytes:
    """The feedback frame: everything up to `confirmed` is written, flushed and applied. `now`: Unix seconds."""
    if confirmed < 0:
        raise ValueError(f"cannot confirm {confirmed}; the lowest position is {format_lsn(0)}")
    clock = int((now - _UNIX_TO_POSTGRES) * 1_000_000)
    return _STATUS.pack(b"r", confirmed, confirmed, confirmed, clock, reply)
