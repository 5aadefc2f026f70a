"""The file of the contact policy: what it may say, what it may not lift, and the one line for each mistake."""

import pickle
import re
from pathlib import Path

import pytest

from commands import demo
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import PURPOSES, ContactRules, LegalClass
from crm.errors import Unsafe
from crm.settings import load
from crm.settings.contact import ContactPolicy, policy


def read(folder: Path, text: str) -> ContactRules:
    """The rules of a file with this text."""
    path = folder / "contact.toml"
    path.write_text(text, encoding="utf-8")
    return policy(path).rules


def test_an_empty_file_says_the_safe_defaults(tmp_path: Path) -> None:
    """No file, an empty one, and the rules as the domain has them are the same, and have one version."""
    assert read(tmp_path, "") == ContactPolicy().rules == load().contact_policy.rules == named(ContactRules(""))
    assert read(tmp_path, "").purposes == PURPOSES


def test_worker_processes_are_given_the_same_rules(tmp_path: Path) -> None:
    """The settings go to them as octets, also once the rules of this process were made."""
    path = tmp_path / "contact.toml"
    path.write_text('[senders.clinic]\nchannels = ["SMS"]\n', encoding="utf-8")
    settings = load(contact_policy=path)
    version = settings.contact_policy.rules.version
    assert pickle.loads(pickle.dumps(settings)).contact_policy.rules.version == version


def test_the_page_tells_the_defaults() -> None:
    """The table of purposes in the documentation has a row for each, and says of it what holds."""
    page = Path(demo.__file__).parents[1].joinpath("docs/contact-decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| `(\w+)` \| (\w+) \| (\w+) \| `(\w+)` \|$", page, re.MULTILINE)
    yes = {True: "yes", False: "no"}
    assert [row[:5] for row in rows] == [
        (purpose, yes[rule.opt_in], rule.legal_class, yes[rule.quiet_hours], yes[rule.verified])
        for purpose, rule in PURPOSES.items()
    ]
    for purpose, *_, use in rows:
        assert PURPOSES[CommunicationPurpose(purpose)].uses & {"COC", "HMARKT"} == {use}


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    """Each table becomes what the rules have, languages in canonical form, a part of a country with its country."""
    rules = read(
        tmp_path,
        """
        zones = ["America/New_York"]
        jurisdictions = ["US-FL"]
        lasting_minutes = 5
        revoke_scope = "LEGAL_MINIMUM"
        shared_numbers = "NONE_QUEUE"
        [quiet_hours]
        from = "20:30"
        to = "09:00"
        channels = ["VOICE"]
        [purposes.BILLING]
        opt_in = true
        verified = true
        uses = ["COC"]
        [senders.texts]
        channels = ["SMS", "VOICE"]
        languages = ["en-gb", "es"]
        formats = ["LARGE_PRINT"]
        clients = ["reminders"]
        numbers = ["+15550100"]
        programme = "BILLING"
        org = "north-clinic"
        """,
    )
    assert (rules.zones, rules.lasting) == (("America/New_York",), 5 * 60_000_000)
    assert (rules.quiet_from, rules.quiet_to, rules.audible) == (20 * 60 + 30, 9 * 60, frozenset({Channel.VOICE}))
    assert set(rules.jurisdictions) == {"US", "US-FL"}
    assert {law.jurisdiction for law in rules.legal_hours} == {"US", "US-FL"}
    billing = rules.purposes[CommunicationPurpose.BILLING]
    assert (billing.opt_in, billing.verified, billing.uses) == (True, True, frozenset({"COC"}))
    assert billing.legal_class is LegalClass.INFORMATIONAL
    texts = rules.senders["texts"]
    assert (texts.id, texts.channels, texts.languages) == ("texts", (Channel.SMS, Channel.VOICE), ("en-GB", "es"))
    assert (texts.formats, texts.clients) == (frozenset({"LARGE_PRINT"}), frozenset({"reminders"}))
    assert (texts.programme, texts.org) == (CommunicationPurpose.BILLING, "north-clinic")
    assert (rules.revoke_scope, rules.shared_numbers) == ("LEGAL_MINIMUM", "NONE_QUEUE")


def test_a_version_names_what_the_file_says(tmp_path: Path) -> None:
    """Order and layout do not matter; every difference in meaning does."""
    one = '[senders.a]\nchannels = ["SMS"]\n[senders.b]\nchannels = ["EMAIL", "SMS"]\n'
    same = '[senders.b]\nchannels = ["EMAIL",  "SMS"]\n# said\n[senders.a]\nchannels = ["SMS"]\n'
    other = one.replace('"EMAIL", "SMS"', '"SMS", "EMAIL"')
    versions = [read(tmp_path, text).version for text in (one, same, other, "")]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
    assert all(version.startswith("contact:") and len(version) == 20 for version in versions)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sendres.a]\nchannels = []", "sendres is not a key of the policy; did you mean senders?"),
        ('[senders.a]\nchanels = ["SMS"]', "senders.a.chanels is not a key of the policy; did you mean channels?"),
        ("[senders.a]", "senders.a.channels: Field required"),
        ("[senders.a]\nchannels = []", "senders.a.channels: "),
        ('[senders.a]\nchannels = ["SMOKE"]', "senders.a.channels.0: Input should be 'SMS'"),
        ('[senders.a]\nchannels = ["SMS", "SMS"]', "senders.a.channels: names something twice"),
        (
            '[senders.a]\nchannels = ["SMS"]\nlanguages = ["klingonish"]',
            "senders.a.languages: each must be a BCP 47 tag",
        ),
        ('[senders."no way"]\nchannels = ["SMS"]', "senders: a sender's name has"),
        (
            '[senders.a]\nchannels = ["SMS"]\nclients = ["x"]\n[senders.b]\nchannels = ["SMS"]\nclients = ["x"]',
            "senders: two senders are registered for the client x",
        ),
        ("[purposes.GOSSIP]\nopt_in = true", "purposes.GOSSIP: Input should be"),
        ("[purposes.MARKETING]\nopt_in = false", "purposes.MARKETING: quiet hours always bind telemarketing"),
        ("[purposes.MARKETING]\nquiet_hours = false", "purposes.MARKETING: quiet hours always bind telemarketing"),
        (
            '[purposes.BILLING]\nlegal_class = "TELEMARKETING"',
            "purposes.BILLING: quiet hours always bind telemarketing",
        ),
        ('[purposes.BILLING]\nuses = ["FUN"]', "purposes.BILLING.uses.0: Input should be"),
        ('zones = ["Europe/Lundon"]', "zones: each must be a key of the IANA time zone database"),
        ("zones = []", "zones: "),
        ('jurisdictions = ["ZZ"]', "jurisdictions: no hours are known of ZZ, but of "),
        ('[quiet_hours]\nfrom = "8:00"', "quiet_hours.from: "),
        ('[quiet_hours]\nfrom = "08:00"', "quiet_hours: from and to are equal"),
        ("lasting_minutes = 0", "lasting_minutes: "),
        ("= 1", "the file is not TOML: "),
    ],
)
def test_a_mistake_stops_the_start_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: str
) -> None:
    """It names the setting, the place in the file, and what is wrong there."""
    path = tmp_path / "contact.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("HEED_CONTACT_POLICY", str(path))
    with pytest.raises(Unsafe) as refusal:
        load()
    said = str(refusal.value)
    assert said.startswith(f"HEED_CONTACT_POLICY: {line}")
    assert "\n" not in said


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leads nowhere stops the start as well."""
    monkeypatch.setenv("HEED_CONTACT_POLICY", "/nowhere/contact.toml")
    with pytest.raises(Unsafe, match=r"^HEED_CONTACT_POLICY: the file cannot be read$"):
        load()


def test_the_file_of_the_demo() -> None:
    """The example that people copy is a good one."""
    rules = policy(Path(demo.__file__).with_name("demo_contact.toml")).rules
    assert {"texts", "mails", "letters", "calls"} <= rules.senders.keys()
    assert all(not sender.clients for sender in rules.senders.values())
