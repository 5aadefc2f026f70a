"""The settings of how a process comes and goes between clients: what it still answers, and what it keeps open."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["ServingSettings"]


class ServingSettings(BaseSettings):
    """The settings of serving; `Settings` is one of these."""

    drain: float | None = Field(
        default=None,
        ge=0,
        le=300,
        json_schema_extra={"shown": "`5` in production, `0` in development"},
        description="Seconds after SIGTERM in which a process still answers, while `/readyz` says no, so that a proxy "
        "in front sends nobody more: longer than it takes to see that. A second signal cuts it short.",
    )
    keep_alive: int = Field(
        default=5,
        ge=1,
        le=3_600,
        description="Seconds that a connection stays open between two requests. A proxy in front must close its own "
        "ones sooner, else it sends a request into one that is being closed.",
    )
