"""Owns what a caller may ask for where a record changed since they read it."""

from enum import StrEnum

__all__ = ["OnConflict"]


class OnConflict(StrEnum):
    """What becomes of a change that is based on an older version than the one now stored."""

    REFUSE = "REFUSE"
    MERGE_DISJOINT = "MERGE_DISJOINT"
