"""How ratios of interleaved rounds are told."""

import statistics
from collections.abc import Sequence

__all__ = ["ratio"]


def ratio(found: Sequence[float]) -> str:
    """The median, with the range."""
    return f"{statistics.median(found):.3g} ({min(found):.3g}-{max(found):.3g})"
