"""Codes by e-mail, through a mail server that takes them over (RFC 6409). Owns the mail's form, not its words."""

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr
from typing import Final

from crm.domain.codes import Channel
from crm.domain.transport import Tls
from crm.errors import SenderUnavailable
from crm.services.senders import Bounced, Message

__all__ = ["SmtpSender", "SmtpServer"]

_log = logging.getLogger("heed.delivery")

_LATER: Final = 30
"""Seconds after which a client may try again."""
_FOR_GOOD: Final = range(500, 600)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in, and as whom. `timeout` is in seconds, for each step; `sender` is the From address."""

    host: str
    port: int
    sender: str
    tls: Tls = Tls.STARTTLS
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 5.0


class SmtpSender:
    """Hands in one mail for each message, over a connection of its own, on a thread: `smtplib` waits.

    `trust` makes what decides which servers are believed; by default the system's certificates.
    """

    channels = frozenset({Channel.EMAIL})

    def __init__(self, server: SmtpServer, trust: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._server = server
        self._trust = trust

    async def send(self, message: Message) -> None:
        """Returns once the server took the mail. Raises `Bounced` where it never will, `SenderUnavailable` else."""
        failure = await asyncio.to_thread(self._hand_in, message)
        if failure is not None:
            raise failure

    def _hand_in(self, message: Message) -> Bounced | SenderUnavailable | None:
        """What went wrong, if anything. Returned, because the exceptions of `smtplib` hold addresses."""
        try:
            connection = self._connected()
        except (OSError, smtplib.SMTPException) as failure:
            return _unavailable(failure)
        try:
            connection.send_message(self._mail(message))
        except smtplib.SMTPRecipientsRefused as refused:
            code = next((code for code, _ in refused.recipients.values()), 0)
            return Bounced() if code in _FOR_GOOD else _unavailable(refused)
        except (smtplib.SMTPNotSupportedError, ValueError):  # an address for which this server, or a mail, has no form
            return Bounced()
        except (OSError, smtplib.SMTPException) as failure:
            return _unavailable(failure)
        finally:
            with suppress(OSError, smtplib.SMTPException):  # what the server took, it keeps
                connection.quit()
            connection.close()
        return None

    def _connected(self) -> smtplib.SMTP:
        """A connection on which mail may be handed in."""
        server = self._server
        if server.tls is Tls.IMPLICIT:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=server.timeout, context=self._trust()
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
        try:
            if server.tls is Tls.STARTTLS:
                connection.starttls(context=self._trust())
            if server.user:
                connection.login(server.user, server.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._server.sender
        mail["To"] = message.address
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = make_msgid(domain=parseaddr(self._server.sender)[1].rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a machine, please
        mail.set_content(message.text)
        return mail


def _unavailable(failure: Exception) -> SenderUnavailable:
    """What the caller is told; the log says of what kind it was, and nothing that the server wrote."""
    _log.error("the mail server takes no mail: %s %s", type(failure).__name__, getattr(failure, "smtp_code", ""))
    return SenderUnavailable(_LATER)
