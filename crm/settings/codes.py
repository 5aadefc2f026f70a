"""The settings of one-time codes: what sends them, and the mail server that takes them. Sends nothing."""

from email.utils import parseaddr
from enum import StrEnum

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from crm.domain.contact_points import mailbox
from crm.domain.transport import Tls

__all__ = ["CodeSender", "CodeSettings"]


class CodeSender(StrEnum):
    """What brings one-time codes to people."""

    NONE = "none"
    LOG = "log"
    SMTP = "smtp"


class CodeSettings(BaseSettings):
    """The settings of one-time codes; `Settings` is one of these."""

    code_sender: CodeSender = Field(
        default=CodeSender.NONE,
        description="What brings one-time codes to contact points: `none`, `smtp` (e-mail), or, in development only, "
        "`log`: they then stand in the server's log.",
    )
    smtp_host: str = Field(
        default="", json_schema_extra={"shown": "none"}, description="The mail server that takes them over."
    )
    smtp_port: int = Field(default=587, ge=1, le=65_535, description="Its port for handing mail in.")
    smtp_tls: Tls = Field(
        default=Tls.STARTTLS,
        description="`starttls`, `implicit` (TLS from the start, as on port 465), or `none`, which production refuses "
        "unless the server is on this machine.",
    )
    smtp_user: str = Field(
        default="", json_schema_extra={"shown": "none"}, description="As whom mail is handed in, if that is asked."
    )
    smtp_password: SecretStr = Field(
        default=SecretStr(""), json_schema_extra={"shown": "none"}, description="The password of `HEED_SMTP_USER`."
    )
    smtp_from: str = Field(
        default="",
        json_schema_extra={"shown": "none"},
        description="The address from which codes come. It should not say which clinic or department writes.",
    )
    smtp_timeout: float = Field(
        default=5.0, gt=0, le=60, description="Seconds to wait for each answer of the mail server."
    )

    @field_validator("smtp_from")
    @classmethod
    def _known_mailbox(cls, value: str) -> str:
        if value and mailbox(parseaddr(value)[1]) is None:
            raise ValueError("must be an e-mail address, such as `codes@example.org`")
        return value
