"""Owns whom the demo's patients let stand in for them, what they permit, and where they are reached in confidence.

Nobody here is real. People are given all of this after everything else, by dice of their own, so that they stay who
they were.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final

__all__ = ["give_contact"]

_KIN: Final = ("PARENT", "CHILD", "SIBLING", "SPOUSE_OR_PARTNER", "FRIEND_OR_NEIGHBOUR", "CARER")
_NAMES: Final = ("Ayan", "Bela", "Carys", "Dilip", "Elif", "Fenna", "Goran", "Hana", "Ines", "Jonah", "Kofi", "Lena")
_SPOKEN: Final = "2026-03-02T10:15:00.000000Z"
_WRITTEN: Final = "2026-06-19T16:40:00.000000Z"
_LATER: Final = "2026-09-30T23:00:00.000000Z"
_QUIET: Final = (("MON", "TUE", "WED", "THU", "FRI"), "12:00", "13:00"), (("SAT", "SUN"), "00:00", "24:00")

NewId = Callable[[str], str]


def give_contact(dice: Random, patient: dict[str, Any], new_id: NewId, mailbox: str) -> None:
    """Adds related persons, consents, a confidential communication, quiet windows and more to some of the patients.

    `mailbox` is an address that nobody else of the demo has.
    """
    born = int(patient["birth_date"][:4])
    if born > 2012 or dice.random() < 0.08:
        patient["related_persons"] = [_relative(dice, new_id, mailbox, child=born > 2012)]
    if dice.random() < 0.35:
        patient["consents"] = _consents(dice, patient, new_id)
    if dice.random() < 0.03:
        patient["confidential_communication"] = {
            "id": new_id("confidential"),
            "channel": "EMAIL",
            "value": f"private.{mailbox}",
            "purposes": dice.choice(([], ["TEST_RESULT"], ["BILLING", "TEST_RESULT"])),
            "set_at": _WRITTEN,
            "set_by": "demo-privacy-officer",
        }
    if dice.random() < 0.1:
        days, start, end = dice.choice(_QUIET)
        quiet = {"days": list(days), "from": start, "to": end, "time_zone": patient["time_zone"], "quiet": True}
        patient["contact_windows"] = [*patient.get("contact_windows", ()), quiet]
    if dice.random() < 0.03 and not patient["restricted"]:
        patient["restrictions"] = [_restriction(dice, new_id)]
    if dice.random() < 0.02:
        patient["suspensions"] = [_suspension(new_id)]
    _marks(dice, patient["contact_points"])


def _relative(dice: Random, new_id: NewId, mailbox: str, *, child: bool) -> dict[str, Any]:
    """A parent in place of a child; somebody beside, instead of, or near a grown-up."""
    person: dict[str, Any] = {
        "id": new_id("relative"),
        "name": f"{dice.choice(_NAMES)} {dice.choice(_NAMES)}son",
        "relationship": "PARENT" if child else dice.choice(_KIN),
        "contact": "INSTEAD" if child else dice.choices(("INSTEAD", "BESIDE", "NONE"), (2, 5, 3))[0],
        "rank": 1,
        "contact_points": [{"id": new_id("relative email"), "system": "EMAIL", "value": f"family.{mailbox}"}],
        "languages": [{"tag": "en", "rank": 1}],
    }
    if child:
        return person | {"authority": "BEST_INTEREST"}
    if dice.random() < 0.3:
        person["purposes"] = ["APPOINTMENT_REMINDER"]
    return person


def _consents(dice: Random, patient: dict[str, Any], new_id: NewId) -> list[dict[str, Any]]:
    """What the person said, in the order in which they said it."""
    point = patient["contact_points"][0]["id"]
    said: list[tuple[str, dict[str, Any], str]] = [
        dice.choice((
            ("PERMIT", {"purpose": "SURVEY"}, _SPOKEN),
            ("PERMIT", {"purpose": "MARKETING", "channel": "EMAIL"}, _SPOKEN),
            ("DENY", {"channel": "SMS"}, _SPOKEN),
            ("DENY", {"purpose": "RESEARCH_INVITE"}, _SPOKEN),
            ("DENY", {"channel": "VOICE", "contact_point_id": point}, _SPOKEN),
        ))
    ]  # fmt: skip
    if dice.random() < 0.4:
        said.append(dice.choice((("PERMIT", {"channel": "SMS"}, _WRITTEN), ("DENY", {"purpose": "SURVEY"}, _WRITTEN))))
    return [
        {
            "id": new_id(f"consent {seq}"),
            "seq": seq,
            "decision": decision,
            "scope": scope,
            "capture": {"at": at, "channel": "IN_PERSON", "by": "demo-front-desk", "wording_version": "2026-01"},
            "effective_from": at,
            "received_at": at,
            **({"effective_to": _LATER} if decision == "PERMIT" and dice.random() < 0.1 else {}),
        }
        for seq, (decision, scope, at) in enumerate(said, 1)
    ]


def _restriction(dice: Random, new_id: NewId) -> dict[str, Any]:
    purposes = dice.choice((["BILLING"], ["MARKETING", "RESEARCH_INVITE"]))
    basis = "SELF_PAID" if purposes == ["BILLING"] else "OBJECTION"
    placed = {"placed_by": "demo-privacy-officer", "placed_at": _WRITTEN}
    return {"id": new_id("restriction"), "kind": "CONTACT", "basis": basis, "purposes": purposes, **placed}


def _suspension(new_id: NewId) -> dict[str, Any]:
    return {
        "id": new_id("suspension"),
        "kind": "UNCLEAR",
        "message_id": "SM-demo",
        "gateway": "demo",
        "channel": "SMS",
        "text": "maybe not so many of these please",
        "received_at": _WRITTEN,
    }


def _marks(dice: Random, points: list[dict[str, Any]]) -> None:
    """What is known of contact points by now: some were verified, from a few everything comes back."""
    for point in points:
        if dice.random() < 0.5:
            point["verification"] = {"status": "VERIFIED", "method": "STAFF", "at": "2026-03-02"}
        elif dice.random() < 0.04:
            point["undeliverable"] = {"since": "2026-08-11", "reason": "INVALID_ADDRESS", "count": 2}
