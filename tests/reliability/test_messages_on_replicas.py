"""Messages that two replicas take in at the same moment, on PostgreSQL: one effect, one event each, and no deadlock."""

import asyncio
from pathlib import Path

from auth.roles import Role
from tests.conftest import Databases
from tests.house import REQUEST, House, actor, house

NUMBERS = ("+447700900151", "+447700900152")
GATEWAY = actor(Role.MESSAGING)


def message(number: str, message_id: str, text: str = "STOP") -> dict[str, str]:
    """A text from one of the numbers."""
    return {"gateway": "texts", "message_id": message_id, "from": number, "channel": "SMS", "text": text}


async def directives(it: House, patient_id: str) -> list[dict[str, object]]:
    """The directives of a patient."""
    officer = actor(Role.PRIVACY_OFFICER)
    profile = await it.services.profiles.read(officer, REQUEST, patient_id, frozenset({"consents"}))
    found: list[dict[str, object]] = profile.get("consents", [])
    return found


async def test_one_message_on_two_replicas(databases: Databases, tmp_path: Path) -> None:
    """Each message is brought to both at once: both answer alike, and everybody who shares a number is stopped once."""
    url = databases.create("postgresql")
    (tmp_path / "other").mkdir()
    async with house(url, tmp_path) as one:
        keys = one.services.store.keys
        async with house(url, tmp_path / "other", keys=lambda _: keys) as other:
            points = [{"system": "PHONE", "value": number, "use": "MOBILE"} for number in NUMBERS]
            people = [
                str((await one.register({"preferred_name": name, "contact_points": points}))["id"])
                for name in ("Ada", "Ben", "Cleo")
            ]
            before = len(await one.leaves())
            brought = [message(number, f"{number}-{place}") for place in range(4) for number in NUMBERS]
            answers = await asyncio.gather(
                *(it.services.messages.take(GATEWAY, REQUEST, each) for each in brought for it in (one, other))
            )
            assert {answer.kind for answer in answers} == {"STOP"}
            assert answers[::2] == answers[1::2]
            for patient_id in people:
                assert len(await directives(other, patient_id)) == 3
            # One event for each patient and message that was new, none for its repetition; three for our own looks.
            assert len(await one.leaves()) - before == len(brought) * len(people) + 3
    databases.drop(url)


async def test_two_contents_under_one_id(databases: Databases, tmp_path: Path) -> None:
    """Of two contents that come under one id at once, one is taken and the other refused."""
    url = databases.create("postgresql")
    (tmp_path / "other").mkdir()
    async with house(url, tmp_path) as one:
        keys = one.services.store.keys
        async with house(url, tmp_path / "other", keys=lambda _: keys) as other:
            for place in range(4):
                both = [message(NUMBERS[0], f"M-{place}", text) for text in ("STOP", "HELP")]
                answers = await asyncio.gather(
                    one.services.messages.take(GATEWAY, REQUEST, both[0]),
                    other.services.messages.take(GATEWAY, REQUEST, both[1]),
                    return_exceptions=True,
                )
                refused = [answer for answer in answers if isinstance(answer, Exception)]
                assert [str(each) for each in refused] == ["input.messageId: other_content"]
    databases.drop(url)
