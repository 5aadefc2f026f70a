"""Owns the words for how a way to another server is sealed, which settings and senders share; opens no connection."""

from enum import StrEnum

__all__ = ["Tls"]


class Tls(StrEnum):
    """How the way to the mail server is sealed: by STARTTLS (RFC 3207), from the first octet (RFC 8314), not at all."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"
