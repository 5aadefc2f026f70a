"""Why something of a patient is erased, in the words of the law. Knows no store."""

from enum import StrEnum

__all__ = ["GROUNDS", "ErasureReason"]


class ErasureReason(StrEnum):
    """The reason code of an erasure; it stands in the ledger, in the access event and on the receipt."""

    PATIENT_REQUEST = "PATIENT_REQUEST"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    NO_LONGER_NEEDED = "NO_LONGER_NEEDED"
    UNLAWFUL = "UNLAWFUL"
    LEGAL_OBLIGATION = "LEGAL_OBLIGATION"


GROUNDS: dict[ErasureReason, str] = {
    ErasureReason.PATIENT_REQUEST: "the person asked for it (GDPR Art. 17(1)(b), (c))",
    ErasureReason.CONSENT_WITHDRAWN: "the person withdrew their consent (GDPR Art. 17(1)(b))",
    ErasureReason.NO_LONGER_NEEDED: "no longer needed for its purpose (GDPR Art. 17(1)(a))",
    ErasureReason.UNLAWFUL: "kept unlawfully (GDPR Art. 17(1)(d))",
    ErasureReason.LEGAL_OBLIGATION: "the law requires it (GDPR Art. 17(1)(e))",
}
"""Each reason for a person, with the ground it rests on."""
