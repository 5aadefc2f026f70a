"""The one door to the types of the profile's values and to `parse`, through which every value enters."""

from crm.domain.addresses import Address, Addresses
from crm.domain.codes import (
    AccessNeedCategory,
    AddressType,
    AddressUse,
    AdministrativeGender,
    Capability,
    Channel,
    ClinicianGender,
    CommunicationPurpose,
    CommunicationStyle,
    ContactPointSystem,
    ContactPointUse,
    CulturalNeedKind,
    Day,
    IdentifierUse,
    LanguageMode,
    LinkType,
    NameUse,
    Proficiency,
    Sensitivity,
    TimeOfDay,
    TriState,
    UndeliverableReason,
    VerificationMethod,
    VerificationStatus,
)
from crm.domain.confidential import ConfidentialCommunication
from crm.domain.consents import ConsentDirective, ConsentDirectives
from crm.domain.contact_points import ContactPoint, ContactPoints, Undeliverable, Verification
from crm.domain.identifiers import Identifier, Identifiers, IdentifierType, Link, Links
from crm.domain.languages import Language, Languages, LanguageTag
from crm.domain.names import HumanName, HumanNames
from crm.domain.need_codes import AccessibleFormat, AccessNeedKind
from crm.domain.needs import (
    AccessibleFormats,
    AccessNeed,
    AccessNeeds,
    CulturalNeedDetail,
    CulturalNeedDetails,
    CulturalNeedHandling,
    CulturalNeedHandlings,
)
from crm.domain.preferences import (
    AppointmentPreferences,
    CareTeam,
    CaseManager,
    ChannelPreference,
    ChannelPreferences,
    ContactWindow,
    ContactWindows,
)
from crm.domain.related_persons import RelatedPerson, RelatedPersons
from crm.domain.religion import ReligionCode
from crm.domain.restrictions import Restriction, Restrictions
from crm.domain.sensitivity import Sensitivities
from crm.domain.shape import CELL_LIMIT, RULES, parse
from crm.domain.suspensions import Suspension, Suspensions
from crm.domain.texts import LongText, ShortText, new_id
from crm.domain.times import PartialDate, PartialDateTime, Period, TimeZone

__all__ = [
    "CELL_LIMIT", "RULES", "AccessNeed", "AccessNeedCategory", "AccessNeedKind", "AccessNeeds", "AccessibleFormat",
    "AccessibleFormats", "Address", "AddressType", "AddressUse", "Addresses", "AdministrativeGender",
    "AppointmentPreferences", "Capability", "CareTeam", "CaseManager", "Channel", "ChannelPreference",
    "ChannelPreferences", "ClinicianGender", "CommunicationPurpose", "CommunicationStyle",
    "ConfidentialCommunication", "ConsentDirective", "ConsentDirectives", "ContactPoint", "ContactPointSystem",
    "ContactPointUse", "ContactPoints", "ContactWindow", "ContactWindows", "CulturalNeedDetail",
    "CulturalNeedDetails", "CulturalNeedHandling", "CulturalNeedHandlings", "CulturalNeedKind", "Day", "HumanName",
    "HumanNames", "Identifier", "IdentifierType", "IdentifierUse", "Identifiers", "Language", "LanguageMode",
    "LanguageTag", "Languages", "Link", "LinkType", "Links", "LongText", "NameUse", "PartialDate", "PartialDateTime",
    "Period", "Proficiency", "RelatedPerson", "RelatedPersons", "ReligionCode", "Restriction", "Restrictions",
    "Sensitivities", "Sensitivity", "ShortText", "Suspension", "Suspensions", "TimeOfDay", "TimeZone", "TriState",
    "Undeliverable", "UndeliverableReason", "Verification", "VerificationMethod", "VerificationStatus", "new_id",
    "parse",
]  # fmt: skip
