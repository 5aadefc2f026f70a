"""Owns the URLs and code systems of FHIR R4 that a profile is mapped from and to, and which code means what.

Sources: FHIR 4.0.1, HL7 fhir-extensions, HL7 UTG (v3 code systems), US Core 9, UK Core.
"""

from collections.abc import Mapping

from crm.domain.values import (
    AccessibleFormat,
    Channel,
    CommunicationPurpose,
    LanguageMode,
    Proficiency,
    Sensitivity,
    TriState,
)

# --- code systems ----------------------------------------------------------------------------------------------------
BCP_47 = "urn:ietf:bcp:47"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
RELIGION = "http://terminology.hl7.org/CodeSystem/v3-ReligiousAffiliation"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
ABILITY_LEVEL = "http://terminology.hl7.org/CodeSystem/v3-LanguageAbilityProficiency"
ABILITY_MODE = "http://terminology.hl7.org/CodeSystem/v3-LanguageAbilityMode"
PREFERENCE_TYPE = "http://hl7.org/fhir/language-preference-type"
UK_LANGUAGE = "https://fhir.hl7.org.uk/CodeSystem/UKCore-HumanLanguage"
UK_FORMAT = "https://fhir.hl7.org.uk/CodeSystem/UKCore-PreferredWrittenCommunicationFormat"
UK_METHOD = "https://fhir.hl7.org.uk/CodeSystem/UKCore-PreferredContactMethod"
UK_SYSTEM = "https://fhir.hl7.org.uk/CodeSystem/UKCore-OtherContactSystem"

# --- extensions ------------------------------------------------------------------------------------------------------
_HL7 = "http://hl7.org/fhir/StructureDefinition/"
_UK = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-"
INTERPRETER_REQUIRED = _HL7 + "patient-interpreterRequired"
INTERPRETER_NEEDED = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-interpreter-needed"
NHS_COMMUNICATION = _UK + "NHSCommunication"
CONTACT_PREFERENCE = _UK + "ContactPreference"
OTHER_CONTACT_SYSTEM = _UK + "OtherContactSystem"
PRONOUNS = _HL7 + "individual-pronouns"
RELIGION_OF_PATIENT = _HL7 + "patient-religion"
TIME_ZONE = _HL7 + "tz-code"
PROFICIENCY = _HL7 + "patient-proficiency"
PREFERENCE = _HL7 + "patient-preferenceType"

PREFERRED_NAME_ID = "preferred-name"
"""`id` of the name element that only says what the person wants to be called."""

# --- codes, in and out -----------------------------------------------------------------------------------------------
INTERPRETER: Mapping[tuple[str, str], TriState] = {
    (SNOMED, "373066001"): TriState.YES,
    (SNOMED, "373067005"): TriState.NO,
    (LOINC, "LA33-6"): TriState.YES,
    (LOINC, "LA32-8"): TriState.NO,
    (NULL_FLAVOR, "UNK"): TriState.UNKNOWN,
    (NULL_FLAVOR, "ASKU"): TriState.UNKNOWN,
    ("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown"): TriState.UNKNOWN,
    ("http://terminology.hl7.org/CodeSystem/data-absent-reason", "asked-unknown"): TriState.UNKNOWN,
}

PRONOUN_CODES: Mapping[str, str] = {"LA29518-0": "he/him", "LA29519-8": "she/her", "LA29520-6": "they/them"}
PRONOUN_DISPLAYS: Mapping[str, str] = {
    "LA29518-0": "he/him/his/his/himself",
    "LA29519-8": "she/her/her/hers/herself",
    "LA29520-6": "they/them/their/theirs/themselves",
}

LEVELS: Mapping[str, Proficiency] = {
    "E": Proficiency.EXCELLENT,
    "G": Proficiency.GOOD,
    "F": Proficiency.FAIR,
    "P": Proficiency.POOR,
}
MODES: Mapping[str, LanguageMode] = {
    "ESP": LanguageMode.SPOKEN,
    "RSP": LanguageMode.SPOKEN,
    "EWR": LanguageMode.WRITTEN,
    "RWR": LanguageMode.WRITTEN,
    "ESGN": LanguageMode.SIGNED,
    "RSGN": LanguageMode.SIGNED,
}
PREFERENCE_MODES: Mapping[str, LanguageMode] = {"verbal": LanguageMode.SPOKEN, "written": LanguageMode.WRITTEN}

UK_SIGN_LANGUAGES: Mapping[str, str] = {"q2": "ase", "q3": "asf", "q4": "bfi"}
"""UKCore-HumanLanguage's own codes and the BCP 47 tags of the same languages."""

UK_BRAILLE = "q1"

UK_FORMATS: Mapping[str, AccessibleFormat] = {
    "11": AccessibleFormat("LARGE_PRINT"),
    "12": AccessibleFormat("BRAILLE"),
    "13": AccessibleFormat("AUDIO"),
}
UK_FORMAT_DISPLAYS: Mapping[str, str] = {"11": "Large print", "12": "Braille", "13": "Audio tape"}

UK_METHODS: Mapping[str, Channel] = {
    "1": Channel.LETTER,
    "2": Channel.IN_PERSON,
    "3": Channel.VOICE,
    "4": Channel.EMAIL,
    "5": Channel.TEXTPHONE,
    "9": Channel.SMS,
}
UK_METHOD_DISPLAYS: Mapping[str, str] = {
    "1": "Letter",
    "2": "Visit",
    "3": "Telephone",
    "4": "E-mail",
    "5": "Minicom (Textphone)",
    "6": "Telephone contact via proxy",
    "7": "Sign language",
    "8": "No telephone contact",
    "9": "SMS",
}

GENERAL_PURPOSES: tuple[CommunicationPurpose, ...] = (
    CommunicationPurpose.APPOINTMENT_REMINDER,
    CommunicationPurpose.TEST_RESULT,
    CommunicationPurpose.PRESCRIPTION,
    CommunicationPurpose.CARE_INSTRUCTION,
    CommunicationPurpose.RECALL_SCREENING,
    CommunicationPurpose.BILLING,
    CommunicationPurpose.ADMIN_NOTICE,
)
"""Purposes for which a preferred contact method without a purpose speaks: care and its paperwork.

Not an emergency, which may not wait for a letter, and not marketing, surveys or research, about which it says nothing.
"""

RESTRICTED = frozenset({"R", "V"})
"""Confidentiality restricted and very restricted."""

SENSITIVITIES: Mapping[str, Sensitivity] = {"CEL": Sensitivity.CELEBRITY, "EMP": Sensitivity.EMPLOYEE}
SENSITIVITY_DISPLAYS: Mapping[str, str] = {
    "CEL": "celebrity information sensitivity",
    "EMP": "employee information sensitivity",
}
