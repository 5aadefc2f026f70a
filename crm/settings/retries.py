"""The setting of retries: for how long a change that is asked for again is known."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["RetrySettings"]


class RetrySettings(BaseSettings):
    """The setting of retries; `Settings` is one of these."""

    retries_kept: int = Field(
        default=48,
        ge=24,
        le=2_160,
        description="Hours for which a mutation that was done is known by its `Idempotency-Key` or `X-Request-Id` "
        "(docs/changing-records.md). Asked for again later, it is done again.",
    )
