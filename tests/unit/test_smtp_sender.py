"""The SMTP sender against a real mail server: what arrives, over what, and what comes of every refusal."""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crm.delivery.log_sender import LogSender
from crm.delivery.smtp import SmtpSender, SmtpServer
from crm.domain.codes import Channel
from crm.domain.transport import Tls
from crm.errors import SenderUnavailable
from crm.services.senders import Bounced, Message
from tests.mail_server import PASSWORD, USER, Certificate, Mailroom, certificate, mail_server

ADDRESS = "zoe.secret@example.test"
TEXT = "Your code is 048213. It serves for 10 minutes."
MESSAGE = Message(Channel.EMAIL, "point-1", ADDRESS, "Your code", TEXT)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate that clients of these tests believe."""
    return certificate(tmp_path_factory.mktemp("ours"))


def sender(room: Mailroom, tls: Tls, trust: Callable[[], Any] | None = None, **more: Any) -> SmtpSender:
    """A sender to a running server."""
    server = SmtpServer("127.0.0.1", room.port, "codes@clinic.example", tls, **{"timeout": 2.0, **more})
    return SmtpSender(server, trust) if trust else SmtpSender(server)


async def test_a_mail_arrives(ours: Certificate) -> None:
    """Over STARTTLS, as a known user: one recipient, the text, and headers that ask machines not to answer."""
    async with mail_server(starttls=ours, login=True) as room:
        await sender(room, Tls.STARTTLS, ours.trusted, user=USER, password=PASSWORD).send(MESSAGE)
    [mail] = room.arrived
    assert (room.recipients, room.sealed, room.known) == ([ADDRESS], [True], [True])
    assert mail.get_content().strip() == TEXT
    assert (mail["From"], mail["To"], mail["Subject"]) == ("codes@clinic.example", ADDRESS, "Your code")
    assert (mail["Auto-Submitted"], mail["Message-ID"][-16:]) == ("auto-generated", "@clinic.example>")
    assert mail["Date"].datetime.tzinfo is not None


async def test_tls_from_the_start_and_none(ours: Certificate) -> None:
    """The two other ways to a server."""
    async with mail_server(implicit=ours) as room:
        await sender(room, Tls.IMPLICIT, ours.trusted).send(MESSAGE)
        assert room.recipients == [ADDRESS]
    async with mail_server() as room:
        await sender(room, Tls.NONE).send(MESSAGE)
        assert (room.recipients, room.sealed) == ([ADDRESS], [False])


async def test_a_server_that_cannot_be_believed_gets_nothing(ours: Certificate, tmp_path: Path) -> None:
    """Another certificate, another name, no STARTTLS at all, and the system's own trust: no mail leaves."""
    stranger = certificate(tmp_path, "elsewhere.test")
    for shown, trust in ((stranger, ours.trusted), (ours, None)):
        async with mail_server(starttls=shown) as room:
            with pytest.raises(SenderUnavailable):
                await sender(room, Tls.STARTTLS, trust).send(MESSAGE)
            assert room.arrived == []
        async with mail_server(implicit=shown) as room:
            with pytest.raises(SenderUnavailable):
                await sender(room, Tls.IMPLICIT, trust).send(MESSAGE)
            assert room.arrived == []
    async with mail_server() as room:
        with pytest.raises(SenderUnavailable):
            await sender(room, Tls.STARTTLS, ours.trusted).send(MESSAGE)
        assert room.arrived == []


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({ADDRESS: "550 no such user"}, Bounced),
        ({ADDRESS: "553 not a name"}, Bounced),
        ({ADDRESS: "450 later"}, SenderUnavailable),
        ({ADDRESS: "421 closing"}, SenderUnavailable),
        ({"DATA": "554 no"}, SenderUnavailable),
        ({"DATA": "451 later"}, SenderUnavailable),
    ],
)
async def test_what_a_server_refuses(
    answers: dict[str, str], error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """A dead mailbox is told from a server that rests; neither the error nor the log has address or text."""
    caplog.set_level(logging.DEBUG, logger="heed")
    async with mail_server() as room:
        room.answers |= answers
        with pytest.raises(error) as refused:
            await sender(room, Tls.NONE).send(MESSAGE)
    assert room.arrived == []
    for told in (str(refused.value), repr(refused.value), caplog.text):
        assert ADDRESS not in told
        assert "048213" not in told
    assert refused.value.__cause__ is refused.value.__context__ is None


async def test_a_wrong_password(ours: Certificate) -> None:
    """The organisation's own mistake is not the mailbox's."""
    async with mail_server(starttls=ours, login=True) as room:
        with pytest.raises(SenderUnavailable):
            await sender(room, Tls.STARTTLS, ours.trusted, user=USER, password="wrong").send(MESSAGE)
        assert room.arrived == []


async def test_an_address_with_a_header_in_it() -> None:
    """What an import kept as it was written adds no header and no recipient: it has no form, and bounces."""
    evil = Message(Channel.EMAIL, "point-1", f"{ADDRESS}\r\nBcc: all@example.test", "Your code", TEXT)
    async with mail_server() as room:
        with pytest.raises(Bounced):
            await sender(room, Tls.NONE).send(evil)
        assert (room.arrived, room.recipients) == ([], [])


async def test_nobody_there() -> None:
    """A port without a server."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        room = Mailroom(port=taken.getsockname()[1])
    with pytest.raises(SenderUnavailable):
        await sender(room, Tls.NONE).send(MESSAGE)


async def test_a_server_that_says_nothing() -> None:
    """Waited for no longer than the timeout, on a thread of its own."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        room, threads = Mailroom(port=silent.getsockname()[1]), threading.active_count()
        with pytest.raises(SenderUnavailable):
            await sender(room, Tls.NONE, timeout=0.2).send(MESSAGE)
        assert threading.active_count() <= threads + 1


async def test_the_password_is_not_shown() -> None:
    """Neither is the address of a message."""
    assert PASSWORD not in repr(SmtpServer("h", 1, "s", password=PASSWORD))
    assert ADDRESS not in repr(MESSAGE)


async def test_the_log_sender_names_no_address(caplog: pytest.LogCaptureFixture) -> None:
    """A developer finds the code by the contact point's id."""
    with caplog.at_level(logging.DEBUG):
        await LogSender().send(MESSAGE)
    assert "point-1" in caplog.text
    assert "048213" in caplog.text
    assert ADDRESS not in caplog.text
