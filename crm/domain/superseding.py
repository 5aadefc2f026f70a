"""Owns which record another one was merged into, under which former ids a record answers, and why; merges nothing."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from crm.domain.shape import distinct
from crm.domain.texts import Id

__all__ = ["MERGED", "MOST_SUPERSEDED", "MergeReason", "RecordId", "SupersededIds", "UnmergeReason"]

MERGED: Final = "merged"
"""The status of a record that was merged into another one."""

MOST_SUPERSEDED: Final = 100
"""Records that one may take in, directly or through others."""

RecordId = Id
"""The id of a record."""

SupersededIds = Annotated[list[Id], Field(max_length=MOST_SUPERSEDED), distinct(str)]
"""Ids of records that were merged into this one, directly or through others, in the order in which they came."""


class MergeReason(StrEnum):
    """Why two records are taken to be about one person."""

    REGISTERED_TWICE = "REGISTERED_TWICE"
    SOURCE_MERGED = "SOURCE_MERGED"
    CONFIRMED_BY_PERSON = "CONFIRMED_BY_PERSON"
    REVIEWED = "REVIEWED"


class UnmergeReason(StrEnum):
    """Why a merge is undone."""

    TWO_PEOPLE = "TWO_PEOPLE"
    WRONG_RECORD = "WRONG_RECORD"
    SOURCE_UNMERGED = "SOURCE_UNMERGED"
