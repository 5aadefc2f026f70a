"""The setting of the change feed: how long one may go on from a position."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["FeedSettings"]


class FeedSettings(BaseSettings):
    """The setting of the feed; `Settings` is one of these."""

    feed_kept: int = Field(
        default=30,
        ge=1,
        le=3_650,
        description="Days for which the feed keeps changes (docs/integrating.md). Whoever was away for longer has "
        "to read all records anew.",
    )
