"""Codes in the server's log: for development, where nobody has a mail server. The settings refuse it in production."""

import logging

from crm.domain.codes import Channel
from crm.services.senders import Message

__all__ = ["LogSender"]

_log = logging.getLogger("heed.delivery")


class LogSender:
    """Writes what it is given into the log, with the contact point's id; never the address."""

    channels = frozenset({Channel.EMAIL, Channel.SMS})

    async def send(self, message: Message) -> None:
        """Always succeeds."""
        _log.warning("to contact point %s: %s", message.contact_point_id, message.text)
