"""Why somebody breaks the glass, for how long at most, and what an officer may say of it. Knows no store."""

from enum import StrEnum

from crm.errors import Invalid

__all__ = [
    "AGAIN",
    "DRIFT",
    "GROUNDS",
    "LASTING",
    "LATE",
    "LONGEST",
    "MINUTE",
    "SHORTEST",
    "STANDING",
    "UNREVIEWED",
    "UNREVIEWED_IN",
    "BreakGlassReason",
    "Verdict",
    "words",
]

SHORTEST = 10
LONGEST = 1_000
"""Characters of what somebody writes: enough to say something, and no room for a chart."""

MINUTE = 60_000_000
LASTING = 480 * MINUTE
"""No grant lasts longer, whatever is set or stored."""
DRIFT = MINUTE
"""By which the clocks of two replicas may differ."""
LATE = 10 * MINUTE
"""By which an event may be recorded after what it tells of: more than any request takes."""

UNREVIEWED = 20
UNREVIEWED_IN = 24 * 60 * MINUTE
"""So many grants of one person within that time may wait for a review; more would hide each other in the queue."""
AGAIN = "GRANTED_ALREADY"
"""Why an event says nothing new of a grant: it was asked for again while it was active and nobody had reviewed it."""


class BreakGlassReason(StrEnum):
    """The reason code of a break-glass grant; it stands in the access event, where the words are sealed.

    The overrides of consent in HL7 v3-ActReason (OVRER, OVRPJ, OVRPS, OVRTPS), and two everyday ones.
    """

    EMERGENCY_TREATMENT = "EMERGENCY_TREATMENT"
    UNABLE_TO_CONSENT = "UNABLE_TO_CONSENT"
    PUBLIC_SAFETY = "PUBLIC_SAFETY"
    THIRD_PARTY_SAFETY = "THIRD_PARTY_SAFETY"
    COVERING_COLLEAGUE = "COVERING_COLLEAGUE"
    PERSON_AGREES = "PERSON_AGREES"


GROUNDS: dict[BreakGlassReason, str] = {
    BreakGlassReason.EMERGENCY_TREATMENT: "immediate treatment is needed (HL7 OVRER; 45 CFR 164.522(a)(1)(iii))",
    BreakGlassReason.UNABLE_TO_CONSENT: "the person cannot be asked, and it is in their interest (HL7 OVRPJ; GDPR Art. "
    "9(2)(c))",
    BreakGlassReason.PUBLIC_SAFETY: "a threat to the public (HL7 OVRPS; 45 CFR 164.512(j))",
    BreakGlassReason.THIRD_PARTY_SAFETY: "a threat to somebody else (HL7 OVRTPS; 45 CFR 164.512(j))",
    BreakGlassReason.COVERING_COLLEAGUE: "standing in for whoever is responsible for the person",
    BreakGlassReason.PERSON_AGREES: "the person is here and agrees",
}
"""Each reason for a person, with the code and the law it rests on."""


class Verdict(StrEnum):
    """What the review of a grant came to."""

    JUSTIFIED = "JUSTIFIED"
    UNJUSTIFIED = "UNJUSTIFIED"
    NEEDS_FOLLOW_UP = "NEEDS_FOLLOW_UP"


STANDING = Verdict.JUSTIFIED
"""The one verdict under which a grant goes on until its end; any other ends it at once."""


def words(text: str, field: str) -> str:
    """The text without blanks around it. Raises `Invalid` unless it is 10 to 1,000 characters that UTF-8 can hold."""
    text = text.strip()
    if len(text) > LONGEST:
        raise Invalid(field, "string_too_long")
    if len(text) < SHORTEST:
        raise Invalid(field, "string_too_short")
    if any((letter < " " and letter not in "\t\n\r") or "\ud800" <= letter <= "\udfff" for letter in text):
        raise Invalid(field, "control_character")
    return text
