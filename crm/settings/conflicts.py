"""The setting of conflicts: for how long both sides of one may be seen by who met it."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["ConflictSettings"]


class ConflictSettings(BaseSettings):
    """The setting of conflicts; `Settings` is one of these."""

    conflict_hours: int = Field(
        default=24,
        ge=1,
        le=720,
        description="Hours for which staff who may change records, but not see history, can compare a version with a "
        "newer one from when on it was not the newest any more (docs/changing-records.md).",
    )
