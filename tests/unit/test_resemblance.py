"""How well pairs are found among many people: households of the demo's generator, and the published FHIR files."""

from collections import Counter
from pathlib import Path

from crm.domain.likeness import Band
from crm.interchange.fhir_in import draft_of
from crm.interchange.reader import read
from crm.interchange.samples import generate
from crm.services.imports import Draft
from tests.resemblance import SLIPS, pairs, registered_twice


def test_of_two_thousand_people_in_households() -> None:
    """Nearly all of 200 second registrations are found, whatever went wrong at the desk, and next to nobody else.

    Each way to go wrong occurs, and none of them hides most of its people.
    """
    everybody, again = registered_twice(generate(2_000, 1), 10, 1)
    found = pairs(everybody)
    true = {(one.first, place) for place, one in again.items()}
    probable = {pair for pair, band in found.items() if band is Band.PROBABLE}
    assert len(true) == 200
    assert len(true & found.keys()) / len(true) > 0.95
    assert len(true & found.keys()) / len(found) > 0.97
    assert len(true & probable) / len(true) > 0.88
    assert len(true & probable) / len(probable) > 0.98
    hidden = Counter(one.slip for place, one in again.items() if (one.first, place) not in found)
    happened = Counter(one.slip for one in again.values())
    assert happened.keys() == {name for name, _, _ in SLIPS}
    assert all(hidden[name] < happened[name] / 2 for name in happened), hidden


def test_of_published_files(shared_data: Path) -> None:
    """Six hundred generated strangers make no pair; HL7's example of a merge is one."""
    found = {}
    for name in ("synthea", "patient_hl7_merge_pair"):
        drafts = [
            draft_of(record.content, org="north", source="fhir", region="GB")
            for record in read(shared_data / "fhir" / f"{name}.ndjson")
            if isinstance(record.content, dict)
        ]
        people = [draft.values for draft in drafts if isinstance(draft, Draft)]
        found[name] = (len(people), sorted(pairs(people).values()))
    assert found == {"synthea": (600, []), "patient_hl7_merge_pair": (2, [Band.PROBABLE])}


def test_without_second_registrations_hardly_anybody_is_found() -> None:
    """Among a thousand people of a few hundred names, members of one household are never a pair."""
    people = list(generate(1_000, 2))
    found = pairs(people)
    assert len(found) <= 3
    for one, other in found:
        shared = {row["value"] for row in people[one].get("contact_points") or ()}
        assert shared.isdisjoint(row["value"] for row in people[other].get("contact_points") or ())
