"""Owns what a gateway is: somebody outside who brings messages of patients, and the secrets by which they are known."""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Gateway", "GatewayKind"]


class GatewayKind(StrEnum):
    """How a gateway writes and signs: Twilio's form, or JSON signed as Standard Webhooks has it."""

    TWILIO = "twilio"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is let in: `url` is the address that Twilio signs over, `sender` whom people reply to."""

    name: str
    kind: GatewayKind
    org: str
    secrets: tuple[bytes, ...] = field(repr=False)
    url: str | None = None
    sender: str | None = None
