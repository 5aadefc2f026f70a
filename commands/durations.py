"""Durations as people type them."""

import re

from crm.errors import Unsafe

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """Seconds of text such as `90s`, `15m`, `8h` or `1d`. Raises `Unsafe` for anything else."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not match:
        raise Unsafe("a duration is a number and one of s, m, h, d, such as 15m")
    return int(match[1]) * _UNITS[match[2]]
