"""Owns the hours in which laws permit telephone marketing, as dated rows with their sources; decides nothing.

No row is legal advice, and a place that has none is not a place without a law: it is one that nobody has looked up.
Where a law leaves room the narrower reading stands here: texts are calls, and consent does not lift the hours. Public
holidays, on which some of these laws permit nothing, are not known to the service.
"""

from collections.abc import Iterable
from typing import Final

from crm.domain.codes import Channel
from crm.domain.decision.rules import LegalClass, LegalHours

__all__ = ["JURISDICTIONS", "LEGAL_HOURS", "with_countries"]

_CALLS: Final = frozenset({Channel.VOICE, Channel.TEXTPHONE})
_CALLS_AND_TEXTS: Final = _CALLS | {Channel.SMS}
_CALLS_AND_FAXES: Final = _CALLS | {Channel.FAX}
_MONDAY_TO_FRIDAY: Final = frozenset(range(5))
_MONDAY_TO_SATURDAY: Final = frozenset(range(6))
_SATURDAY: Final = frozenset({5})
_SUNDAY: Final = frozenset({6})
_WEEKEND: Final = _SATURDAY | _SUNDAY
_EVERY_DAY: Final = frozenset(range(7))


def _law(
    jurisdiction: str, since: str, days: frozenset[int], hours: tuple[str, str], channels: frozenset[Channel],
    source: str,
) -> LegalHours:  # fmt: skip
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours)
    return LegalHours(
        jurisdiction, since, start, end, frozenset({LegalClass.TELEMARKETING}), channels, source, None, days
    )


_FEDERAL: Final = "47 CFR 64.1200(c)(1); for texts (e), as codified by 89 FR 5098"
_TEXAS: Final = "Texas Business and Commerce Code 301.051; for texts SB 140 (2025)"
_RHODE_ISLAND: Final = "Rhode Island General Laws 5-61-2 and 5-61-3.6"
_CANADA: Final = "CRTC Unsolicited Telecommunications Rules, Part III"
_FRANCE: Final = "Code de la consommation, art. D. 223-9 (décret n° 2022-1313)"

LEGAL_HOURS: Final[tuple[LegalHours, ...]] = (
    _law("US", "2024-03-26", _EVERY_DAY, ("08:00", "21:00"), _CALLS_AND_TEXTS, _FEDERAL),
    _law("US-FL", "2021-07-06", _EVERY_DAY, ("08:00", "20:00"), _CALLS_AND_TEXTS, "Florida Statutes 501.616(6)(a)"),
    _law("US-MD", "2024-01-01", _EVERY_DAY, ("08:00", "20:00"), _CALLS_AND_TEXTS,
         "Maryland Commercial Law 14-4502(c) (Stop the Spam Calls Act of 2023)"),
    _law("US-OK", "2022-11-01", _EVERY_DAY, ("08:00", "20:00"), _CALLS_AND_TEXTS,
         "Oklahoma Telephone Solicitation Act of 2022 (15 O.S. 775C)"),
    _law("US-RI", "2024-01-01", _MONDAY_TO_FRIDAY, ("09:00", "18:00"), _CALLS_AND_TEXTS, _RHODE_ISLAND),
    _law("US-RI", "2024-01-01", _SATURDAY, ("10:00", "17:00"), _CALLS_AND_TEXTS, _RHODE_ISLAND),
    _law("US-TX", "2025-09-01", _MONDAY_TO_SATURDAY, ("09:00", "21:00"), _CALLS_AND_TEXTS, _TEXAS),
    _law("US-TX", "2025-09-01", _SUNDAY, ("12:00", "21:00"), _CALLS_AND_TEXTS, _TEXAS),
    _law("US-WA", "2023-01-01", _EVERY_DAY, ("08:00", "20:00"), _CALLS_AND_TEXTS,
         "Revised Code of Washington 19.158.040(2)"),
    _law("CA", "2008-09-30", _MONDAY_TO_FRIDAY, ("09:00", "21:30"), _CALLS_AND_FAXES, _CANADA),
    _law("CA", "2008-09-30", _WEEKEND, ("10:00", "18:00"), _CALLS_AND_FAXES, _CANADA),
    _law("FR", "2023-03-01", _MONDAY_TO_FRIDAY, ("10:00", "13:00"), _CALLS, _FRANCE),
    _law("FR", "2023-03-01", _MONDAY_TO_FRIDAY, ("14:00", "20:00"), _CALLS, _FRANCE),
)  # fmt: skip
"""Every row, by jurisdiction (ISO 3166). `since` is a day on which it certainly held: the law may be older."""

JURISDICTIONS: Final = frozenset(law.jurisdiction for law in LEGAL_HOURS)
"""The jurisdictions of which hours are known here."""


def with_countries(jurisdictions: Iterable[str]) -> tuple[str, ...]:
    """The jurisdictions with the countries they are parts of (`US-FL` with `US`), whose laws bind there as well."""
    named = set(jurisdictions)
    return tuple(sorted(named | {code.partition("-")[0] for code in named}))
