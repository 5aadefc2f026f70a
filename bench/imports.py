"""Filling a house, and how fast it fills: generated people through the import service, FHIR through the importer."""

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench.bare import refresh_statistics
from commands.actors import command_request, system_actor
from commands.house import House
from crm.interchange import importer
from crm.interchange.importer import CHUNK
from crm.services.changes import canonical
from crm.services.imports import Draft, Imports, Incoming

ORG = "bench"
SYNTHEA = Path(__file__).resolve().parents[1] / "../shared/data/fhir/synthea.ndjson"
"""600 synthetic FHIR patients beside the project, if somebody put them there."""

_GIVEN = ("Amina", "Bo", "Chiara", "Dmitri", "Eilidh", "Farah", "Goran", "Hana", "Ifeoma", "José", "Khadija", "Lucía")
_FAMILY = ("Ahmed", "Brown", "Castellanos", "Duda", "Evans", "Fraser", "Gashi", "Hughes", "Ionescu", "Jones", "Kaya")
_TAGS = ("en", "so", "pl", "ur", "cy", "bfi", "ar", "pt-BR")
_PRONOUNS = ("she/her", "he/him", "they/them")
_PURPOSES = ("APPOINTMENT_REMINDER", "TEST_RESULT", "BILLING")
_CHANNELS = ("SMS", "VOICE", "EMAIL", "LETTER", "PORTAL")


def person(number: int) -> dict[str, Any]:
    """One generated person, the same for the same number: two or three contact points, one to three preferences."""
    dice = random.Random(number)
    given, family = dice.choice(_GIVEN), f"{dice.choice(_FAMILY)}-{number}"
    points: list[dict[str, Any]] = [
        {"system": "PHONE", "value": f"+447700900{number % 1000:03d}", "use": "MOBILE", "rank": 1},
        {"system": "EMAIL", "value": f"person{number}@example.test", "use": "HOME", "rank": 2},
        {"system": "PHONE", "value": f"+442079460{dice.randrange(1000):03d}", "use": "HOME", "rank": 3},
    ]
    return {
        "preferred_name": given,
        "names": [{"use": "OFFICIAL", "family": family, "given": [given, dice.choice(_GIVEN)]}],
        "birth_date": f"{dice.randrange(1930, 2020)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}",
        "identifiers": [{"system": "urn:example:hospital-number", "value": f"B-{number:06d}"}],
        "contact_points": points[: dice.choice((2, 3, 3))],
        "addresses": [{"use": "HOME", "lines": [f"{number} High Street"], "city": "Leeds", "postal_code": "LS1 1AA"}],
        "languages": [
            {"tag": tag, "modes": ["SPOKEN"], "rank": rank}
            for rank, tag in enumerate(dice.sample(_TAGS, dice.choice((1, 2))), start=1)
        ],
        "interpreter_needed": dice.choice(("YES", "NO", "UNKNOWN")),
        "time_zone": "Europe/London",
        "communication_style": dice.choice(("PLAIN_LANGUAGE", "BRIEF", "FORMAL")),
        "channel_preferences": [
            {"purpose": purpose, "channels": dice.sample(_CHANNELS, 2)}
            for purpose in dice.sample(_PURPOSES, dice.choice((1, 2, 3)))
        ],
        "pronouns": dice.choice(_PRONOUNS),
    }


def _drafts(count: int) -> Iterator[Draft]:
    for number in range(count):
        incoming = Incoming("bench", None, f"person-{number}", (), f"bench/{number}".encode())
        yield Draft(incoming, canonical(person(number), region="GB"), restricted=False)


async def fill(house: House, count: int) -> tuple[list[str], float]:
    """Stores `count` generated people; their ids by number, and how many were stored in a second."""
    imports = Imports(house.services.store, system_actor(ORG), command_request("bench"))
    await imports.admit()
    drafts, chunks, taken = _drafts(count), list[list[Incoming]](), 0.0
    while chunk := list(islice(drafts, CHUNK)):
        started = time.perf_counter()
        known = await imports.known([draft.incoming for draft in chunk])
        await imports.apply(list(zip(chunk, known, strict=True)))
        taken += time.perf_counter() - started
        if not chunks:
            await refresh_statistics(house.settings.database_url)
        chunks.append([draft.incoming for draft in chunk])
    await refresh_statistics(house.settings.database_url)
    ids = [entry.patient_id for chunk in chunks for entry in await imports.known(chunk) if entry]
    return ids, count / taken


async def fhir(house: House, file: Path, org: str) -> tuple[int, float, float]:
    """How many records `file` holds, and how many a second are taken in when new, and when they are known already."""
    imports = Imports(house.services.store, system_actor(org), command_request("bench"))
    await imports.admit()
    first = await importer.run([file], imports, org=org, source="bench", region="GB")
    again = await importer.run([file], imports, org=org, source="bench", region="GB")
    if again.unchanged != first.created or first.rejected:
        raise RuntimeError("the import is not what it should be")
    return first.records, first.records / first.seconds, again.records / again.seconds
