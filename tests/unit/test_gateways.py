"""Gateways of the contact policy: what an entry needs, and secrets that are read and never shown."""

from pathlib import Path

import pytest

from crm.domain.gateways import GatewayKind
from crm.errors import Unsafe
from crm.settings.contact import ContactPolicy, policy
from crm.settings.gateways import GatewayEntry

POLICY = """
[senders.clinic]
channels = ["SMS"]

[[gateways]]
name = "texts"
kind = "twilio"
org = "north"
sender = "clinic"
url = "https://heed.example.org/hooks/messages/texts"
secret_file = "{texts}"

[[gateways]]
name = "calls"
kind = "json"
org = "north"
plus = true
secret_file = "{calls}"
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A policy with two gateways, and their secrets beside it."""
    (tmp_path / "texts").write_text("an-auth-token-of-32-characters-ab\n")
    (tmp_path / "calls").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    file = tmp_path / "contact.toml"
    file.write_text(POLICY.format(texts=tmp_path / "texts", calls=tmp_path / "calls"))
    return file


def test_gateways_of_a_policy(written: Path) -> None:
    """Each is opened with all its secrets, and shows none."""
    texts, calls = (entry.opened() for entry in policy(written).gateways)
    assert (texts.kind, texts.org, texts.sender, len(texts.secrets)) == (GatewayKind.TWILIO, "north", "clinic", 1)
    assert (calls.kind, calls.sender, calls.secrets[0]) == (GatewayKind.JSON, None, calls.secrets[1])
    assert len(calls.secrets[0]) == 24
    assert [gateway.dialled("12025550142") for gateway in (texts, calls)] == ["12025550142", "+12025550142"]
    assert calls.dialled("+12025550142") == "+12025550142"
    assert "token" not in repr(texts)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('url = "https://heed.example.org/hooks/messages/texts"', "", "gateways.0: twilio signs over the address"),
        ('url = "https:', 'url = "ftp:', "gateways.0.url: must be the whole address"),
        ('sender = "clinic"', 'sender = "nobody"', "gateways: texts names a sender that is not registered"),
        ('name = "calls"', 'name = "texts"', "gateways: two gateways have one name"),
        ('kind = "json"', 'kind = "pigeon"', "gateways.1.kind"),
        ('name = "calls"', 'name = "a/b"', "gateways.1.name"),
        ('org = "north"', 'organisation = "north"', "gateways.0.organisation is not a key of the policy"),
    ],
)
def test_entries_that_are_refused(written: Path, old: str, new: str, said: str) -> None:
    """A policy is refused with the place and what is wrong there."""
    written.write_text(written.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        policy(written)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("whsec_???", "must hold whsec_ and base64"),
        ("whsec_c2hvcnQ=", "fewer than 16 octets"),
    ],
)
def test_secrets_that_are_refused(tmp_path: Path, content: str | None, said: str) -> None:
    """A file without a secret that is good enough is told by the gateway's name, and not by what is in it."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    entry = GatewayEntry(name="calls", kind=GatewayKind.JSON, org="north", secret_file=file)
    with pytest.raises(Unsafe, match=f"gateway calls: .*{said}") as refused:
        entry.opened()
    assert not content or content not in str(refused.value)


def test_no_gateways() -> None:
    """Without a policy nobody is let in."""
    assert ContactPolicy().gateways == ()
