"""Log sequence numbers (PostgreSQL documentation, "pg_lsn Type").

Shape: an unsigned 64-bit byte position in the WAL, printed as two hexadecimal halves, `16/B374D848`.
"""

MAX_LSN = 2**64 - 1


def parse_lsn(text: str) -> int:
    """`"0/16B3748"` to its number. Raises ValueError naming the text."""
    high, slash, low = text.partition("/")
    try:
        if slash and 0 < len(high) <= 8 and 0 < len(low) <= 8:
            return (int(high, 16) << 32) | int(low, 16)
    except ValueError:
        pass
    raise ValueError(f"not a log sequence number: {text!r}; expected two hexadecimal halves like '0/16B3748'")


def format_lsn(lsn: int) -> str:
    """The number as PostgreSQL prints it. Raises ValueError outside 64 bits."""
    if not 0 <= lsn <= MAX_LSN:
        raise ValueError(f"a log sequence number has 64 bits, got {lsn}")
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
