"""Signatures of webhooks, by the vectors that Twilio's libraries and the Standard Webhooks specification publish."""

import base64

import pytest

from crm.crypto.webhook import TOLERANCE, signed_as_standard, signed_by_twilio, standard, twilio

# Twilio's documentation and the tests of its libraries: auth token, address and form are the same in all of them.
TOKEN = b"12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = [("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"), ("From", "+14158675309"),
        ("To", "+18005551212")]  # fmt: skip
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
REPEATED = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")]

# The example of the Standard Webhooks specification and its libraries.
SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
HEADER = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_published_by_twilio() -> None:
    """The signatures of the published examples, whatever the order of the form."""
    assert twilio(TOKEN, URL, FORM) == twilio(TOKEN, URL, reversed(FORM)) == SIGNATURE
    assert twilio(TOKEN, URL, REPEATED) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="
    assert signed_by_twilio([TOKEN], URL, FORM, SIGNATURE)
    assert signed_by_twilio([b"another", TOKEN], URL, FORM, SIGNATURE)


@pytest.mark.parametrize("header", ["", SIGNATURE.lower(), SIGNATURE[:-1], SIGNATURE + "=", "\udcff", "é"])
def test_not_by_twilio(header: str) -> None:
    """Any other signature is none; nor is this one for another address, form or token."""
    assert not signed_by_twilio([TOKEN], URL, FORM, header)
    assert not signed_by_twilio([TOKEN], f"{URL}&x=1", FORM, SIGNATURE)
    assert not signed_by_twilio([TOKEN], URL, [*FORM, ("Body", "stop")], SIGNATURE)
    assert not signed_by_twilio([b"12346"], URL, FORM, SIGNATURE)
    assert not signed_by_twilio([], URL, FORM, SIGNATURE)


def test_published_by_standard_webhooks() -> None:
    """The signature of the published example, alone or among others."""
    assert standard(SECRET, ID, str(AT), BODY) == HEADER
    for header in (HEADER, f"v1,AAAA {HEADER}", f"v1a,x {HEADER} v2,y"):
        assert signed_as_standard([SECRET], ID, str(AT), header, BODY, now=AT)
    assert signed_as_standard([b"old secret", SECRET], ID, str(AT), HEADER, BODY, now=AT)


@pytest.mark.parametrize("late", [-TOLERANCE - 1, TOLERANCE + 1, 10**6])
def test_too_early_or_too_late(late: int) -> None:
    """A right signature counts within five minutes of its timestamp, and not before or after."""
    assert not signed_as_standard([SECRET], ID, str(AT), HEADER, BODY, now=AT + late)
    assert signed_as_standard([SECRET], ID, str(AT), HEADER, BODY, now=AT + max(-TOLERANCE, min(late, TOLERANCE)))


@pytest.mark.parametrize(
    ("message_id", "at", "header", "body"),
    [
        ("msg_other", str(AT), HEADER, BODY),
        (ID, str(AT + 1), HEADER, BODY),
        (ID, f" {AT}", HEADER, BODY),
        (ID, f"{AT}.0", HEADER, BODY),
        (ID, "", HEADER, BODY),
        (ID, "9" * 400, HEADER, BODY),
        (ID, str(AT), HEADER.removeprefix("v1,"), BODY),
        (ID, str(AT), HEADER.replace("v1", "v2"), BODY),
        (ID, str(AT), "", BODY),
        (ID, str(AT), "v1,\udcff", BODY),
        (ID, str(AT), " ".join(["v1,AAAA"] * 1000 + [HEADER]), BODY),
        (ID, str(AT), HEADER, BODY + b" "),
    ],
)
def test_not_as_standard_webhooks(message_id: str, at: str, header: str, body: bytes) -> None:
    """Another id, time, body or version, a malformed header, or too many signatures: none of it is signed."""
    assert not signed_as_standard([SECRET], message_id, at, header, body, now=AT)
