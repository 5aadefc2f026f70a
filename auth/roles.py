"""Roles: what a caller is. Owns the closed list of ten, not what each may do (that is `auth.policy`)."""

from enum import StrEnum

__all__ = ["PERSONAL", "STAFF", "Role"]


class Role(StrEnum):
    """The ten roles that an issuer may put into the `roles` claim."""

    FRONT_DESK = "front_desk"
    CLINICIAN = "clinician"
    CARE_COORDINATOR = "care_coordinator"
    MESSAGING = "messaging"
    PATIENT = "patient"
    PROXY = "proxy"
    COMPLIANCE_OFFICER = "compliance_officer"
    PRIVACY_OFFICER = "privacy_officer"
    INTEGRATION = "integration"
    OPERATOR = "operator"


STAFF: frozenset[Role] = frozenset(
    {
        Role.FRONT_DESK,
        Role.CLINICIAN,
        Role.CARE_COORDINATOR,
        Role.COMPLIANCE_OFFICER,
        Role.PRIVACY_OFFICER,
        Role.OPERATOR,
    }
)
"""Roles of people who work for the organisation; the others are programs, and patients and who acts for them."""

PERSONAL: frozenset[Role] = frozenset({Role.PATIENT, Role.PROXY})
"""Roles tied to the one record that the token's `patient` claim names; they never come together with another role."""
