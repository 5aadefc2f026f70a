"""Roles: what a caller is. Owns the closed list of ten, not what each may do (that is `auth.policy`)."""

from enum import StrEnum

__all__ = ["PERSONAL", "Role"]


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


PERSONAL: frozenset[Role] = frozenset({Role.PATIENT, Role.PROXY})
"""Roles tied to the one record that the token's `patient` claim names; they never come together with another role."""
