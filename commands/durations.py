"""Durations as people type them."""

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """Seconds of text such as `90s`, `15m`, `8h` or `1d`. Raises ValueError, with what to write, for anything else."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not match or int(match[1]) == 0:
        raise ValueError("a duration is a number above 0 and one of s, m, h, d, such as 15m")
    return int(match[1]) * _UNITS[match[2]]
