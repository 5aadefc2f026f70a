"""A real mail server on the loopback interface, with a certificate of its own, in the loop of the test."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["PASSWORD", "USER", "Certificate", "Mailroom", "certificate", "mail_server"]

USER, PASSWORD = "heed", "a password of the mail server"


@dataclass
class Mailroom:
    """What arrived, as whom and how; `answers` are what it says to recipients instead of taking their mail."""

    arrived: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    sealed: list[bool] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Takes or refuses one recipient."""
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Keeps one mail."""
        if "DATA" in self.answers:
            return self.answers["DATA"]
        content = envelope.content
        assert isinstance(content, bytes)
        self.arrived.append(message_from_bytes(content, _class=EmailMessage, policy=policy.SMTP))
        self.recipients += envelope.rcpt_tos
        self.sealed.append(session.ssl is not None)
        self.known.append(bool(session.authenticated))
        return "250 taken"


@dataclass(frozen=True)
class Certificate:
    """A certificate for this machine: its file, and that of its key."""

    chain: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """What the server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context

    def trusted(self) -> ssl.SSLContext:
        """A client that believes this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.chain))


def certificate(folder: Path, name: str = "localhost") -> Certificate:
    """A new certificate for `name` and the loopback address, signed by itself, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(chain, secret)


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
    assert isinstance(login, LoginPassword)
    return AuthResult(success=(login.login, login.password) == (USER.encode(), PASSWORD.encode()))


@asynccontextmanager
async def mail_server(
    *, starttls: Certificate | None = None, implicit: Certificate | None = None, login: bool = False
) -> AsyncIterator[Mailroom]:
    """A running server: with STARTTLS demanded, with TLS from the start, or open; `login` asks who hands mail in."""
    room = Mailroom()
    more: dict[str, Any] = {}
    if starttls:
        more |= {"tls_context": starttls.server(), "require_starttls": True}
    if login:
        more |= {"authenticator": _login, "auth_required": True, "auth_require_tls": starttls is not None}
    running = await asyncio.get_running_loop().create_server(
        lambda: SMTP(room, hostname="localhost", **more),
        "127.0.0.1",
        0,
        ssl=implicit.server() if implicit else None,
    )
    async with running:
        room.port = running.sockets[0].getsockname()[1]
        yield room
