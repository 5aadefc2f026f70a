"""The settings of connections that last: how many there may be, and what one socket may do at a time."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["StreamSettings"]


class StreamSettings(BaseSettings):
    """The settings of WebSockets and event streams; `Settings` is one of these."""

    streams: int = Field(
        default=1_000,
        ge=4,
        le=100_000,
        description="WebSockets and event streams open in one process; a caller has a quarter of them at most.",
    )
    stream_operations: int = Field(
        default=32, ge=1, le=1_000, description="Operations that one WebSocket has at work at a time."
    )
