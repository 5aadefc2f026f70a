"""Where what a record says comes from, as GraphQL types: whose word stands, by which rule, and which was not taken."""

import graphene

from crm.domain.precedence import Rule, Voice
from schema import policy_enums
from schema.enums import enum_type
from schema.parts import items, needed, words
from schema.scalars import DateTime

__all__ = ["Provenance"]

VoiceEnum = enum_type(
    Voice,
    {
        "PATIENT": "The patient.",
        "PROXY": "Somebody who acts for the patient.",
        "STAFF": "A member of staff.",
        "SYSTEM": "A program: an import, or one that writes by itself.",
    },
    name="Voice",
    about="Who spoke; in the order of precedence where no other is configured, the highest first.",
)
SourceRule = enum_type(
    Rule,
    {
        "ONLY_WORD": "Nobody had spoken of the group before.",
        "IN_PERSON": "A person changed it through the API, and saw what they changed.",
        "HIGHER_SOURCE": "The source of what stands is placed higher than the other.",
        "NEWEST": "The two sources are placed alike, and what stands is newer.",
    },
    name="SourceRule",
    about="Why a word about a group of fields stands, rather than another.",
)


class OverruledWord(graphene.ObjectType):
    """That a source said something else about a group of fields, which was not taken. What it said is not kept."""

    source = needed(graphene.String, "The system that said so.")
    recorded_at = needed(DateTime, "When it said so first, since what stands was entered.")
    rule = needed(SourceRule, "By which rule the other word stands.")


class Provenance(graphene.ObjectType):
    """Where one group of fields comes from."""

    group = needed(policy_enums.FieldGroup, "The group of fields.")
    source = needed(graphene.String, "The system that said so.")
    recorded_by = words("Who entered it, as the subject of their token.")
    recorded_at = needed(DateTime, "When it was entered here.")
    voice = needed(VoiceEnum, "Who spoke.")
    rule = needed(SourceRule, "By which rule it was taken.")
    overruled = items(OverruledWord, "Other words that were not taken since then, the newest first; five at most.")
