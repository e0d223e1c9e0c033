"""How much memory an import may ask for: what the machine has, so that a file of a few bytes cannot demand terabytes."""

import os
from functools import cache


@cache
def available_bytes() -> int:
    """Physical memory of this machine, or of the container where that is smaller."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        total = 1 << 36
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            total = min(total, int(file.read()))
    except (OSError, ValueError):
        pass
    return total


def human(size: int) -> str:
    """'3.2 GB'."""
    value, units = float(size), ["PB", "TB", "GB", "MB", "kB", "bytes"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    unit = units[-1]
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
