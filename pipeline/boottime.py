"""The clock of leases."""

import time


def boottime() -> float:
    """Seconds since this machine started, its sleep included: a suspended owner's lease must not seem fresh."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
