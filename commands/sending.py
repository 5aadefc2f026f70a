"""What brings one-time codes to people, by the settings."""

from crm.delivery.log_sender import LogSender
from crm.delivery.smtp import SmtpSender, SmtpServer
from crm.services.senders import Sender
from crm.settings import CodeSender, Settings

__all__ = ["sender"]


def sender(settings: Settings) -> Sender | None:
    """The sender that was chosen; None where no codes are sent."""
    if settings.code_sender is CodeSender.NONE:
        return None
    if settings.code_sender is CodeSender.LOG:
        return LogSender()
    return SmtpSender(
        SmtpServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            sender=settings.smtp_from,
            tls=settings.smtp_tls,
            user=settings.smtp_user,
            password=settings.smtp_password.get_secret_value(),
            timeout=settings.smtp_timeout,
        )
    )
