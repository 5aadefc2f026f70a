"""Owns the closed list of reasons for which an incoming record is refused; a refusal names a place, never a value."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Reason", "Refused", "Reject"]


class Reason(StrEnum):
    """Why a record was refused. `docs/fhir.md` explains each to the person who has to mend the file."""

    # The file or the line.
    BAD_GZIP = "bad_gzip"
    NOT_UTF8 = "not_utf8"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    NOT_AN_OBJECT = "not_an_object"
    NO_RESOURCE = "no_resource"
    NOT_A_PATIENT = "not_a_patient"
    # The structure of a FHIR R4 Patient.
    UNKNOWN_ELEMENT = "unknown_element"
    MISSING_ELEMENT = "missing_element"
    EMPTY_ELEMENT = "empty_element"
    NULL_ELEMENT = "null_element"
    BAD_TYPE = "bad_type"
    BAD_CHOICE = "bad_choice"
    BAD_EXTENSION = "bad_extension"
    MODIFIER_NOT_UNDERSTOOD = "modifier_not_understood"
    BAD_CODE = "bad_code"
    BAD_DATE = "bad_date"
    BAD_ID = "bad_id"
    BAD_TEXT = "bad_text"
    BAD_VALUE = "bad_value"
    BAD_PERIOD = "bad_period"
    # What a profile can hold.
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    NOT_STORABLE = "not_storable"
    # A Consent.
    NOT_ABOUT_CONTACT = "not_about_contact"
    CONSENT_NOT_ACTIVE = "consent_not_active"
    NOT_EXPRESSIBLE = "not_expressible"
    UNKNOWN_PATIENT = "unknown_patient"
    # The stored patient.
    IDENTITY_CONFLICT = "identity_conflict"
    PATIENT_MERGED = "patient_merged"
    PATIENT_ERASED = "patient_erased"
    PATIENT_DAMAGED = "patient_damaged"
    PATIENT_BUSY = "patient_busy"


@dataclass(frozen=True, slots=True)
class Reject:
    """A refused record: `path` is the element to blame, such as `name[0].period.start`; empty when it is the whole."""

    reason: Reason
    path: str = ""


class Refused(Exception):
    """Carries a `Reject` out of nested checks; caught at the door of `fhir_in` and of `reader`."""

    def __init__(self, reason: Reason, path: str = "") -> None:
        super().__init__(f"{reason} {path}".rstrip())
        self.reject = Reject(reason, path)
