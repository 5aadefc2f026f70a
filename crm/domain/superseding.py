"""Owns which record another one was merged into, and under which former ids a record answers; merges nothing."""

from typing import Annotated, Final

from pydantic import Field

from crm.domain.shape import distinct
from crm.domain.texts import Id

__all__ = ["MERGED", "MOST_SUPERSEDED", "RecordId", "SupersededIds"]

MERGED: Final = "merged"
"""The status of a record that was merged into another one."""

MOST_SUPERSEDED: Final = 100
"""Records that one may take in, directly or through others."""

RecordId = Id
"""The id of a record."""

SupersededIds = Annotated[list[Id], Field(max_length=MOST_SUPERSEDED), distinct(str)]
"""Ids of records that were merged into this one, directly or through others, in the order in which they came."""
