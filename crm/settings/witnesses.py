"""One entry of `HEED_WITNESSES`: where a witness of the logs is asked, and the key of its cosignatures."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, field_validator

from crm.crypto.cosignature import COSIGNATURE
from crm.crypto.note import verifier_key

__all__ = ["Witness"]


class Witness(BaseModel):
    """A witness: the address before `/add-checkpoint`, and the verifier key that `audit witness --show-key` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    key: str

    @field_validator("url")
    @classmethod
    def _known_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be https://host, with port and path where there are any")
        return value.rstrip("/")

    @field_validator("key")
    @classmethod
    def _known_key(cls, value: Any) -> Any:
        try:
            verifier_key(value, COSIGNATURE)
        except RuntimeError:
            raise ValueError("is not the verifier key of a witness: `audit witness --show-key` prints it") from None
        return value
