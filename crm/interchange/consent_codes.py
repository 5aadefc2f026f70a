"""Owns the codes by which a FHIR R4 Consent says that it is about contact, and about which channel and purpose.

FHIR R4 has no scope and no codes for consent to be contacted; ours stand beside the two that others use for texts.
"""

from collections.abc import Mapping
from typing import Final

from crm.domain.codes import Channel
from crm.interchange.fhir_codes import LOINC, SNOMED

__all__ = ["ABOUT_CHANNEL", "CHANNEL", "CONTACT", "DIRECTIVE", "POLICY", "PRIVACY_CATEGORY", "PURPOSE", "SCOPE"]

SCOPE: Final = "urn:heed:fhir:consent-scope"
CONTACT: Final = "contact"
"""`Consent.scope` of what is about contact."""

CHANNEL: Final = "urn:heed:fhir:channel"
PURPOSE: Final = "urn:heed:fhir:communication-purpose"
"""Systems of `provision.code` and `provision.purpose`; the codes are those of `Channel` and `CommunicationPurpose`."""

POLICY: Final = "urn:heed:fhir:contact-policy"
"""System of `Consent.policyRule`: the policy to which the provision is an exception."""

DIRECTIVE: Final = "urn:heed:fhir:consent-directive"
"""The extension with what a Consent has no element for."""

PRIVACY_CATEGORY: Final = (LOINC, "59284-0", "Patient Consent")
"""The category of what we write: FHIR's value set has none for contact."""

ABOUT_CHANNEL: Mapping[tuple[str, str], Channel] = {
    (LOINC, "89057-4"): Channel.SMS,  # the category of the Rwanda HIV guide: patient consent for SMS messages
    (SNOMED, "699237001"): Channel.SMS,  # consent given for communication by short message service text messaging
}
"""Codes of others, in `category` or `provision.code`, that name a channel."""
