"""The code lists around contact as GraphQL enums; owns their descriptions, not their members."""

from crm.domain import codes
from schema.enums import enum_type

__all__ = [
    "Authority",
    "ConsentDecision",
    "GiverRole",
    "Relationship",
    "RestrictionBasis",
    "RestrictionKind",
    "SharingBasis",
    "StandIn",
    "SuspensionKind",
    "SuspensionVerdict",
]

ConsentDecision = enum_type(
    codes.ConsentDecision,
    {"PERMIT": "Contact is permitted.", "DENY": "Contact is forbidden."},
    about="What a consent directive says.",
)
GiverRole = enum_type(
    codes.GiverRole,
    {
        "PATIENT": "The patient.",
        "PARENT": "A parent, for a child.",
        "GUARDIAN": "A guardian.",
        "LASTING_POWER_OF_ATTORNEY": "Somebody who holds a lasting power of attorney.",
        "BEST_INTEREST": "Whoever decided in the interest of a patient who cannot decide.",
        "OTHER": "Somebody in another right.",
    },
    about="In which right somebody gives a consent directive.",
)
Relationship = enum_type(
    codes.Relationship,
    {
        "PARENT": "A parent of the patient.",
        "CHILD": "A child of the patient.",
        "SPOUSE_OR_PARTNER": "The spouse or partner.",
        "SIBLING": "A brother or sister.",
        "OTHER_FAMILY": "Somebody else of the family.",
        "CARER": "Somebody who cares for the patient.",
        "GUARDIAN": "A guardian.",
        "ATTORNEY": "Somebody who holds a power of attorney.",
        "FRIEND_OR_NEIGHBOUR": "A friend or neighbour.",
        "PROFESSIONAL": "Somebody whose profession it is, such as a social worker.",
        "OTHER": "Somebody else.",
    },
    about="Who a related person is to the patient.",
)
Authority = enum_type(
    codes.Authority,
    {
        "PATIENT_CONSENT": "The patient agreed to it.",
        "BEST_INTEREST": "It was decided in the interest of a patient who cannot decide.",
        "LASTING_POWER_OF_ATTORNEY": "A lasting power of attorney.",
        "OTHER_REPRESENTATIVE": "Another right to represent the patient.",
    },
    about="What the role of a related person rests on.",
)
StandIn = enum_type(
    codes.StandIn,
    {
        "INSTEAD": "In place of the patient.",
        "BESIDE": "As well as the patient.",
        "NONE": "Not contacted.",
    },
    about="Whether a related person is contacted.",
)
RestrictionKind = enum_type(
    codes.RestrictionKind,
    {
        "RECORD": "Where the person is and how to reach them is withheld.",
        "CONTACT": "Contact is forbidden within a scope.",
    },
    about="What a restriction binds.",
)
RestrictionBasis = enum_type(
    codes.RestrictionBasis,
    {
        "AGREED_REQUEST": "The person asked, and the organisation agreed (45 CFR 164.522(a)(1)).",
        "SELF_PAID": "The person paid in full, and the health plan must not be told (45 CFR 164.522(a)(1)(vi)).",
        "OBJECTION": "The person objected (GDPR Art. 18 and 21).",
        "SAFEGUARDING": "The person would be in danger.",
        "COURT_ORDER": "A court ordered it.",
        "LAW": "The law requires it.",
        "SOURCE_SYSTEM": "Another system marks the record as restricted, and does not say why.",
    },
    about="Why a restriction binds.",
)
SharingBasis = enum_type(
    codes.SharingBasis,
    {
        "CONSENT": "The person consented.",
        "NO_OBJECTION": "The person was told and did not object.",
        "OBJECTION": "The person objects: it is not passed on.",
    },
    about="On what ground a need is passed on to other services.",
)
SuspensionKind = enum_type(
    codes.SuspensionKind,
    {
        "UNCLEAR": "The message may have meant to stop; until staff have read it, nothing but emergencies is sent.",
        "OPT_IN_REQUEST": "The message asked for messages again; nothing is permitted by that.",
    },
    about="Why a message waits for staff.",
)
SuspensionVerdict = enum_type(
    codes.SuspensionVerdict,
    {
        "STOP": "It meant to stop; a directive says so.",
        "NOT_STOP": "It meant something else.",
        "OPTED_IN": "The person was asked, and permits messages; a directive says so.",
        "DISMISSED": "Nothing follows from it.",
    },
    about="What staff took a message for.",
)
