"""The settings of webhooks: whether this process sends them, how long it waits, and when an endpoint is given up."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["WebhookSettings"]


class WebhookSettings(BaseSettings):
    """The settings of webhooks; `Settings` is one of these."""

    webhooks: bool = Field(
        default=True,
        description="Whether this process sends webhooks. Where only some processes may reach the internet, the others "
        "say `false`.",
    )
    webhook_timeout: float = Field(
        default=15.0,
        ge=1,
        le=30,
        description="Seconds for one attempt, from the look-up of the receiver's name to the status of its answer.",
    )
    webhook_days: float = Field(
        default=5.0,
        gt=0,
        le=30,
        description="Days without a single success after which an endpoint is disabled.",
    )
