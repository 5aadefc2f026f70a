"""Owns what a gateway is: somebody outside who brings messages of patients, and the secrets by which they are known."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["ISSUER", "Gateway", "GatewayKind"]

ISSUER: Final = "urn:heed:gateway"
"""The issuer of gateways that signed as themselves: they have no token."""


class GatewayKind(StrEnum):
    """How a gateway writes and signs: Twilio's form, or JSON signed as Standard Webhooks has it."""

    TWILIO = "twilio"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is let in: `url` is the address that Twilio signs over, `sender` whom people reply to.

    `plus` tells that it gives numbers in E.164 without their `+`.
    """

    name: str
    kind: GatewayKind
    org: str
    secrets: tuple[bytes, ...] = field(repr=False)
    url: str | None = None
    sender: str | None = None
    plus: bool = False

    def dialled(self, number: str) -> str:
        """A number as this gateway gives it, with the `+` that it leaves out."""
        return f"+{number}" if self.plus and number[:1].isdigit() else number
