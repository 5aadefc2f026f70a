"""Owns what the demo's patients need and prefer: formats, access and cultural needs, channels, windows, style."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

__all__ = ["give_needs"]

_FORMATS: Final = (
    "LARGE_PRINT", "LARGE_PRINT_24", "EASY_READ", "BRAILLE", "BRAILLE_G2", "AUDIO", "AUDIO_CD", "HTML_ELECTRONIC",
    "COLOURED_PAPER", "INFO_BY_EMAIL",
)  # fmt: skip
_NEEDS: Final[Mapping[str, str | None]] = {
    "STEP_FREE_ACCESS": "Uses a powered wheelchair 68 cm wide.",
    "HEARING_LOOP": None,
    "LIP_READS": "Face the person, and keep the light on your own face.",
    "EXTENDED_APPOINTMENT": "Double appointment.",
    "QUIET_SPACE": "Waiting room is too loud: ring when the room is free.",
    "FIRST_OR_LAST_APPOINTMENT": None,
    "ASSISTANCE_DOG": "Dog is called Biscuit.",
    "COMPANION_PRESENT": "Sister comes along and may be told everything.",
    "EXPRESSIVE_SUPPORT": "Give time to answer; do not finish sentences.",
    "COMMUNICATION_PASSPORT": None,
    "READ_ALOUD_BY_THIRD_PARTY": None,
    "APPOINTMENT_REMINDERS": "Remind the day before and again two hours before.",
    "TRANSFER_AID": None,
    "TRANSPORT": "Needs hospital transport; allow an hour either side.",
}
_CULTURAL: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "Muslim": (
        ("FASTING_OR_CALENDAR", "Offer appointments after sunset during Ramadan.", "Fasts in Ramadan."),
        ("DIET", "Order halal meals.", "Halal only; no gelatine capsules if there is a choice."),
        ("CLINICIAN_GENDER", "Book a female clinician, or offer a chaperone.", "Modesty before men."),
        ("PRAYER_OR_RITUAL", "Avoid Friday 12:30 to 14:30.", "Friday prayer."),
    ),
    "Jewish": (
        ("FASTING_OR_CALENDAR", "No calls from Friday dusk to Saturday night.", "Keeps Shabbat."),
        ("DIET", "Order kosher meals, served sealed.", "Strictly kosher."),
    ),
    "Hindu": (("DIET", "Order vegetarian meals without egg.", "No meat, fish or egg."),),
    "Sikh": (
        ("MODESTY", "Ask before any hair is cut or a bracelet removed.", "Keeps the five Ks."),
        ("DIET", "Order vegetarian meals.", "No meat."),
    ),
    "Jehovah's Witness": (
        ("BLOOD_PRODUCTS", "Fetch the advance decision from the record before any procedure.", "Refuses whole blood."),
    ),
    "Buddhist": (("END_OF_LIFE", "Keep the room quiet after death; call the family first.", "Wishes chanting."),),
    "": (
        ("FAMILY_DECISION", "Invite the eldest daughter to important talks.", "The family decides together."),
        ("TOUCH_OR_SPACE", "Ask before touching, also for taking a pulse.", "Distress at unannounced touch."),
        ("MODESTY", "Offer a long gown.", "Does not want arms or legs uncovered."),
    ),
}  # fmt: skip
_PURPOSES: Final = (
    "APPOINTMENT_REMINDER", "TEST_RESULT", "PRESCRIPTION", "RECALL_SCREENING", "BILLING", "ADMIN_NOTICE", "SURVEY",
)  # fmt: skip
_STYLES: Final = ("PLAIN_LANGUAGE", "DETAILED", "BRIEF", "FORMAL", "INFORMAL", "STEP_BY_STEP")
_WINDOWS: Final = (
    (("MON", "TUE", "WED", "THU", "FRI"), "09:00", "12:00"),
    (("MON", "TUE", "WED", "THU", "FRI"), "18:00", "20:30"),
    (("SAT", "SUN"), "10:00", "16:00"),
    (("MON", "WED", "FRI"), "22:00", "06:00"),  # works nights
    (("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"), "08:00", "21:00"),
)
_NOTES: Final = (
    "Let it ring for a long time: it takes a while to get to the phone.",
    "Call twice in a row; unknown callers are not answered the first time.",
    "Does not open letters in brown envelopes. Use a plain white one.",
    "Please use the side door, the bell at the front is broken.",
    "Ask for the date of birth last: the question is upsetting as an opening.",
    "Shares the telephone with the family. Say only that the clinic called.",
    "Write short messages: one question at a time.",
    "Is at dialysis on Tuesday and Thursday mornings.",
)
_MANAGERS: Final = ("Farida Bello", "Tomasz Lis", "Grace Adeyemi", "Huw Prosser", "Mei Tan", "Jordan Blake")
_TEAMS: Final = ("Riverside Community Team", "Northgate Diabetes Service", "Harbour Mental Health Team", "Oak Ward")
_STAFF: Final = tuple(f"staff-{number}" for number in range(1, 21))


def give_needs(rng: Random, patient: dict[str, Any], *, signs: bool, new_id: Callable[[str], str]) -> None:
    """Adds needs and preferences to `patient`, whose religion, languages and time zone are known already."""
    if rng.random() < 0.12:
        patient["accessible_formats"] = rng.sample(_FORMATS, rng.choices((1, 2), (4, 1))[0])
    _access(rng, patient, signs=signs, new_id=new_id)
    _culture(rng, patient, new_id)
    _channels(rng, patient, signs=signs)
    if rng.random() < 0.25:
        days, start, end = rng.choice(_WINDOWS)
        window = {"days": list(days), "from": start, "to": end, "time_zone": patient["time_zone"]}
        patient["contact_windows"] = [window]
    if rng.random() < 0.3:
        patient["communication_style"] = rng.choice(_STYLES)
    if rng.random() < 0.2:
        patient["instructions"] = rng.choice(_NOTES)
    if rng.random() < 0.3:
        patient["appointment_preferences"] = {
            "times": rng.sample(("MORNING", "AFTERNOON", "EVENING"), rng.randint(1, 2)),
            "days": rng.sample(("MON", "TUE", "WED", "THU", "FRI"), rng.randint(0, 3)),
            "clinician_gender": rng.choices(("NO_PREFERENCE", "FEMALE", "MALE"), (5, 3, 1))[0],
        }
    if rng.random() < 0.2:
        since = f"20{rng.randint(19, 25)}-{rng.randint(1, 12):02d}"
        patient["case_manager"] = {"name": rng.choice(_MANAGERS), "organisation": rng.choice(_TEAMS), "since": since}
        patient["care_team"] = sorted(rng.sample(_STAFF, 3))


def _access(rng: Random, patient: dict[str, Any], *, signs: bool, new_id: Callable[[str], str]) -> None:
    kinds = ["BSL_INTERPRETER", "PREFERS_BSL"] if signs else []
    if rng.random() < 0.16:
        kinds += rng.sample(sorted(_NEEDS), rng.choices((1, 2, 3), (6, 3, 1))[0])
    needs = []
    for kind in kinds:
        year = rng.randint(2020, 2025)
        need: dict[str, Any] = {
            "id": new_id(f"need {kind}"),
            "kind": kind,
            "identified_at": f"{year}-{rng.randint(1, 12):02d}",
        }
        if text := _NEEDS.get(kind):
            need["text"] = text
        if rng.random() < 0.5:
            need |= {"last_reviewed_at": "2026-03", "review_due_at": rng.choice(("2026-09", "2027-03", "2027-09"))}
        if rng.random() < 0.1:
            need["flag_visible"] = False
        needs.append(need)
    if needs:
        patient["access_needs"] = needs


def _culture(rng: Random, patient: dict[str, Any], new_id: Callable[[str], str]) -> None:
    own = _CULTURAL.get(patient.get("religion", ""), ())
    pool = [*own, *own, *_CULTURAL[""]]
    if rng.random() >= (0.3 if own else 0.06):
        return
    chosen = list(dict.fromkeys(rng.sample(pool, rng.choices((1, 2), (4, 1))[0])))
    patient["cultural_need_handling"] = [
        {"id": new_id(f"culture {kind}"), "handling": text} for kind, text, _ in chosen
    ]
    patient["cultural_need_detail"] = [
        {"id": new_id(f"culture {kind}"), "kind": kind, "detail": detail} for kind, _, detail in chosen
    ]


def _channels(rng: Random, patient: dict[str, Any], *, signs: bool) -> None:
    if rng.random() >= 0.5 and not signs:
        return
    reachable = ["LETTER", "PORTAL", "SMS", "EMAIL"] + ([] if signs else ["VOICE", "VOICE"])
    rows = []
    for purpose in rng.sample(_PURPOSES, rng.randint(1, 4)):
        wanted = rng.sample(reachable, rng.randint(1, 3))
        rows.append({"purpose": purpose, "channels": list(dict.fromkeys(wanted))})
    patient["channel_preferences"] = rows
