"""One entry `[[gateways]]` of the contact policy: who brings messages of patients to the hook, and how they sign."""

import base64
import binascii
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crm.crypto.webhook import STANDARD_PREFIX
from crm.domain.gateways import Gateway, GatewayKind
from crm.errors import Unsafe

__all__ = ["GatewayEntry"]

_LEAST = 16


class GatewayEntry(BaseModel):
    """A gateway: `name` is the last part of the hook's address, `org` whose patients write to it.

    `kind` is `twilio` (a form, signed over `url`, which is the address as the gateway knows it) or `json` (Standard
    Webhooks). `secret_file` holds Twilio's auth token, or `whsec_` and the base64 of a secret; several lines are
    several secrets, so that one can be replaced. `sender` is the registered sender to which people reply. `plus`
    is for gateways that give international numbers without `+`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: GatewayKind
    org: Annotated[str, Field(min_length=1, max_length=200)]
    secret_file: Path
    url: str | None = None
    sender: str | None = None
    plus: bool = False

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be the whole address of the hook, such as https://host/hooks/messages/name")
        return value

    @model_validator(mode="after")
    def _signed_over(self) -> "GatewayEntry":
        if self.kind is GatewayKind.TWILIO and self.url is None:
            raise ValueError("twilio signs over the address: set url to what the gateway is told to call")
        return self

    def opened(self) -> Gateway:
        """The gateway with its secrets, read now. Raises Unsafe with what to do; it never shows a secret."""
        try:
            lines = self.secret_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeError):
            raise Unsafe(f"gateway {self.name}: secret_file cannot be read") from None
        secrets = tuple(self._secret(line) for line in lines)
        if not secrets:
            raise Unsafe(f"gateway {self.name}: secret_file is empty")
        return Gateway(self.name, self.kind, self.org, secrets, self.url, self.sender, self.plus)

    def _secret(self, line: str) -> bytes:
        if self.kind is GatewayKind.TWILIO:
            secret = line.encode()
        else:
            try:
                secret = base64.b64decode(re.sub(f"^{STANDARD_PREFIX}", "", line), validate=True)
            except binascii.Error:
                raise Unsafe(f"gateway {self.name}: secret_file must hold {STANDARD_PREFIX} and base64") from None
        if len(secret) < _LEAST:
            raise Unsafe(f"gateway {self.name}: a secret has fewer than {_LEAST} octets")
        return secret
