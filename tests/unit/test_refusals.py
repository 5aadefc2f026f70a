"""What commands and log lines say of failures: what to do, or type and place; never an exception's own words."""

import asyncio
import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from auth.errors import Forbidden
from auth.issuers import UnsafeIssuer
from commands import logs
from commands.refusals import sentence
from crm import errors

SECRET = "Samantha\nOkafor"


def failure(cause: bool = False) -> Exception:
    """An exception that quotes a value, as drivers and parsers do."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"bad value {SECRET}") from (error if cause else None)
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.Unsafe("the key ring is missing: run `keys init`"), "the key ring is missing: run `keys init`"),
        (errors.StoreUnavailable(), "the database does not answer"),
        (errors.AuditUnavailable(), "the access log cannot be written"),
        (errors.NotFound(), "there is no such patient in this organisation"),
        (errors.KeyUnavailable("no wrap key"), "HEED_KEYRING"),
        (errors.ProviderUnavailable("the vault is sealed or not ready"), "the vault is sealed or not ready"),
        (errors.Tampered(), "restore it from a copy"),
        (errors.Invalid("names.0.family", "too_long"), "names.0.family: too_long"),
        (UnsafeIssuer("it holds a private key"), "it holds a private key"),
        (Forbidden("integration/TREAT"), "the policy does not allow this (Forbidden)"),
        (FileNotFoundError(2, "No such file or directory", "/tmp/x"), "No such file or directory: /tmp/x"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_expected_failures_say_what_to_do(error: Exception, said: str) -> None:
    """One line for each kind of refusal."""
    line = sentence(error)
    assert said in line
    assert line.isprintable()


def test_unexpected_failures_say_where_and_not_what() -> None:
    """Type and place of the failure and of its cause, without their words."""
    line = sentence(failure(cause=True))
    assert "ValueError at " in line
    assert "KeyError at " in line
    assert "test_refusals.py:" in line
    assert "Okafor" not in line
    assert line.isprintable()


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What the process's own loggers write."""
    stream = StringIO()
    handler = logs.speaker(stream)
    ours = logging.getLogger("heed")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    yield stream
    ours.removeHandler(handler)
    ours.setLevel(level)


async def test_log_lines_hold_no_words_of_exceptions(written: StringIO) -> None:
    """An exception in a log record, or one that nobody awaited: one line each, with type and place only."""
    error = failure()
    logging.getLogger("heed.test").error("Exception in ASGI application", exc_info=error)
    logging.getLogger("heed.test").info("fine\x1b[31m\r\nforged line")
    logs.unhandled(asyncio.get_running_loop(), {"message": "Task exception was never retrieved", "exception": error})
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert sum("ValueError at " in line for line in lines) == 2
    assert "Okafor" not in "".join(lines)
