"""The words of the policy as GraphQL enums: roles, purposes of use, groups of fields. Owns their descriptions only."""

from auth.policy import Group
from auth.purposes import Purpose
from auth.roles import Role
from schema.enums import enum_type

__all__ = ["FieldGroup", "PurposeOfUse", "RoleEnum"]

RoleEnum = enum_type(
    Role,
    {
        "FRONT_DESK": "Reception and scheduling.",
        "CLINICIAN": "Treats patients.",
        "CARE_COORDINATOR": "Coordinates care between teams.",
        "MESSAGING": "A program that sends messages to patients.",
        "PATIENT": "The person the record is about.",
        "PROXY": "Somebody who acts for a patient.",
        "COMPLIANCE_OFFICER": "Reads the access log; places and lifts legal holds.",
        "PRIVACY_OFFICER": "Answers for privacy: reads the log and whole records, and holds or erases them.",
        "INTEGRATION": "Another system that exchanges records.",
        "OPERATOR": "Runs the service; sees no patient.",
    },
    name="Role",
    about="What a caller is. What each role may do is decided together with the purpose of use.",
)
PurposeOfUse = enum_type(
    Purpose,
    {
        "TREAT": "To treat the person.",
        "ETREAT": "To treat the person in an emergency.",
        "BTG": "Break-glass: access in an emergency that the rules would refuse.",
        "CAREMGT": "To plan and follow the person's care.",
        "COC": "To coordinate care between those who give it.",
        "HPAYMT": "To bill and to pay for care.",
        "HOPERAT": "To run an organisation that gives care.",
        "PATRQT": "The person asks, or somebody asks because the person said so.",
        "FAMRQT": "The family asks for the person.",
        "PWATRNY": "Somebody asks who holds a power of attorney.",
        "SUPNWK": "Somebody asks who supports the person.",
        "HMARKT": "To tell the person of products and services.",
        "PATADMIN": "To administer: who the person is, appointments, admissions.",
        "HQUALIMP": "To improve the quality of care.",
        "PATSFTY": "To make care safer.",
        "HCOMPL": "To see that the rules are kept.",
        "HLEGAL": "For a matter of law.",
        "PUBHLTH": "For public health.",
        "HRESCH": "For research.",
        "RECORDMGT": "To keep, move and correct records.",
        "HSYSADMIN": "To administer the systems.",
        "TRAIN": "To train staff.",
        "HTEST": "To test, with data that are nobody's.",
    },
    name="PurposeOfUse",
    about="Why a caller asks: codes of HL7 v3-ActReason, value set PurposeOfUse.",
)
FieldGroup = enum_type(
    Group,
    {
        "RECORD": "The record itself: when it was stored and changed.",
        "GOVERNANCE": "How the record is governed: restriction, provenance.",
        "ADDRESSING": "How to address the person.",
        "PRONOUNS": "Which pronouns the person uses.",
        "LEGAL_NAME": "Names on documents.",
        "BIRTH": "Date of birth.",
        "VITAL": "Whether the person is alive, and the record in use.",
        "GENDER": "Administrative gender.",
        "IDENTIFIERS": "Business identifiers and links to other records.",
        "LANGUAGE": "Languages and interpreter.",
        "ACCESS": "Access needs and accessible formats.",
        "HANDLING": "What to do about cultural needs.",
        "CULTURE": "Religion, and the background of cultural needs.",
        "CONTACT": "Contact points.",
        "ADDRESS": "Addresses.",
        "CHANNEL": "Channels, contact windows and time zone.",
        "STYLE": "Communication style and instructions.",
        "APPOINTMENT": "Appointment preferences.",
        "CASE_MANAGER": "The responsible case manager.",
        "CONSENT": "Consent directives.",
        "MESSAGES": "What the person wrote and staff have to read.",
        "RESTRICTION": "What binds the organisation: restrictions of the record and of contact.",
        "RELATED": "Related persons, and who stands in.",
        "CONFIDENTIAL": "Where the person asked to be reached instead.",
    },
    name="FieldGroup",
    about="A group of profile fields that are granted together and come from one source.",
)
