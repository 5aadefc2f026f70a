"""Where somebody asked to be reached instead, what binds the organisation, and who stands in, as mutations.

Each resolver asks one service once. Decides nothing.
"""

from typing import Any

import graphene

from auth.policy import Action, Group
from schema import contact_enums, enums
from schema.changing import VERSIONED, change, target
from schema.context import Context, Profile
from schema.erasures import allowed_to
from schema.inputs import (
    AccessNeedInput,
    AddressInput,
    ContactPointInput,
    LanguageInput,
    Mergeable,
    PeriodInput,
    Target,
    for_writers,
)
from schema.scalars import DateTime, LanguageTag

__all__ = ["GuardedMutations"]


def _list(of: Any, text: str) -> graphene.List:
    return graphene.List(graphene.NonNull(of), description=text)


_PURPOSES = "All purposes if omitted or empty."


class SetConfidentialCommunicationInput(Target, graphene.InputObjectType):
    """Where and how the person is to be reached instead. There is no place for a reason: nobody may ask for one."""

    channel: Any = enums.Channel(
        required=True,
        description="SMS, VOICE, TEXTPHONE, FAX and EMAIL with a `value`, LETTER with an `address`, PORTAL and "
        "IN_PERSON with neither.",
    )
    value = graphene.String(description="The number, preferably international with `+`, or the mailbox.")
    address = AddressInput(description="Where letters go.")
    purposes = _list(enums.CommunicationPurpose, f"About what. {_PURPOSES}")
    language = LanguageTag(description="The language to use there.")


class ClearConfidentialCommunicationInput(Target, graphene.InputObjectType):
    """Whose confidential communication ends."""


class RestrictRecordInput(Target, graphene.InputObjectType):
    """A restriction. One of the record has no scope and no end: a person lifts it."""

    kind: Any = contact_enums.RestrictionKind(required=True, description="What it binds.")
    basis: Any = contact_enums.RestrictionBasis(required=True, description="Why.")
    channels = _list(enums.Channel, "The channels that CONTACT forbids; all of them if omitted or empty.")
    purposes = _list(enums.CommunicationPurpose, f"The purposes that CONTACT forbids. {_PURPOSES}")
    until = DateTime(description="When CONTACT ends by itself; after the present moment.")


class LiftRestrictionInput(Target, graphene.InputObjectType):
    """Which restriction ends."""

    restriction_id = graphene.ID(required=True, description="The restriction's id.")


class RelatedContactPointInput(ContactPointInput):
    """A way to reach a related person; while its number or mailbox stays, so do its id and verification."""

    id = graphene.ID(description="The id of a contact point that the person already has; omit it for a new one.")


class _Related:
    """What a related person may have besides the name and the relationship."""

    authority = contact_enums.Authority(description="What their role rests on.")
    contact = contact_enums.StandIn(description="Whether they are contacted; NONE if nobody says.")
    purposes = _list(enums.CommunicationPurpose, f"About what. {_PURPOSES}")
    rank = graphene.Int(description="Order among several, from 1.")
    period = PeriodInput(description="When this holds.")
    contact_points = _list(RelatedContactPointInput, "All ways to reach them.")
    languages = _list(LanguageInput, "Their own languages.")
    accessible_formats = _list(enums.AccessibleFormat, "Formats in which they must be written to.")
    access_needs = _list(AccessNeedInput, "What they need themselves.")


class RelatedPersonInput(_Related, graphene.InputObjectType):
    """Somebody who is contacted instead of the patient or beside them, or acts for them."""

    name = graphene.String(required=True, description="How to address them, up to 200 characters.")
    relationship: Any = contact_enums.Relationship(required=True, description="Who they are to the patient.")


class RelatedPersonChangeInput(_Related, graphene.InputObjectType):
    """What changes of a related person: omitted stays, null clears, a list replaces the whole list."""

    name = graphene.String(description="How to address them, up to 200 characters.")
    relationship = contact_enums.Relationship(description="Who they are to the patient.")


class AddRelatedPersonInput(Mergeable, graphene.InputObjectType):
    """One more related person."""

    related_person = RelatedPersonInput(required=True, description="Who.")


class UpdateRelatedPersonInput(Mergeable, graphene.InputObjectType):
    """A change of one related person."""

    related_person_id = graphene.ID(required=True, description="The related person's id.")
    related_person = RelatedPersonChangeInput(required=True, description="What changes.")


class EndRelatedPersonInput(Mergeable, graphene.InputObjectType):
    """Which related person is one no more."""

    related_person_id = graphene.ID(required=True, description="The related person's id.")


class GuardedMutations:
    """Mutations of what is shown to few, or binds everybody."""

    set_confidential_communication = change(
        SetConfidentialCommunicationInput,
        "The one way to reach the person from now on, about some purposes or all: it beats preferences, consents and "
        "contact points, and stand-ins get nothing of it. Staff see that there is one, and use it through contact "
        f"decisions; proxies are not told. No reason is asked for. {VERSIONED} {allowed_to(Action.CONFIDE)}",
    )
    clear_confidential_communication = change(
        ClearConfidentialCommunicationInput,
        "Ends the confidential communication, so that the ordinary ways count again. "
        f"{VERSIONED} {allowed_to(Action.CONFIDE)}",
    )
    restrict_record = change(
        RestrictRecordInput,
        "Places a restriction. RECORD withholds where the person is and how to reach them, and makes `restricted` "
        "true; CONTACT forbids contact. Several stand side by side. "
        f"{VERSIONED} {allowed_to(Action.RESTRICT)}",
    )
    lift_restriction = change(
        LiftRestrictionInput,
        "Ends one restriction, which stays in the record; `restricted` is true while another of the record is in "
        "force. VALIDATION_FAILED for one that is not this record's (`unknown_restriction`) or has ended "
        f"(`already_lifted`). {VERSIONED} {allowed_to(Action.RESTRICT)}",
    )
    add_related_person = change(
        AddRelatedPersonInput, for_writers(f"Adds a related person. {VERSIONED}", Group.RELATED)
    )
    update_related_person = change(
        UpdateRelatedPersonInput, for_writers(f"Changes a related person. {VERSIONED}", Group.RELATED)
    )
    end_related_person = change(
        EndRelatedPersonInput,
        for_writers(
            f"Ends the role of a related person: they stay in the record, and are not contacted any more. {VERSIONED}",
            Group.RELATED,
        ),
    )

    @staticmethod
    async def resolve_set_confidential_communication(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile as it is now."""
        here: Context = info.context
        patient_id, version, wanted = target(input)
        return await here.services.confidential.set(
            here.actor, here.request, patient_id, version, wanted, here.asked(info)
        )

    @staticmethod
    async def resolve_clear_confidential_communication(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile as it is now."""
        here: Context = info.context
        patient_id, version, _ = target(input)
        return await here.services.confidential.clear(here.actor, here.request, patient_id, version, here.asked(info))

    @staticmethod
    async def resolve_restrict_record(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with one more restriction."""
        here: Context = info.context
        patient_id, version, wanted = target(input)
        return await here.services.restrictions.place(
            here.actor, here.request, patient_id, version, wanted, here.asked(info)
        )

    @staticmethod
    async def resolve_lift_restriction(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a restriction that has ended."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.restrictions.lift(
            here.actor, here.request, patient_id, version, values["restriction_id"], here.asked(info)
        )

    @staticmethod
    async def resolve_add_related_person(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with one more related person."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.related_persons.add(
            here.actor, here.request, patient_id, version, values["related_person"], here.asked(info)
        )

    @staticmethod
    async def resolve_update_related_person(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a changed related person."""
        here: Context = info.context
        patient_id, version, values = target(input)
        person_id, person = values["related_person_id"], values["related_person"]
        return await here.services.related_persons.update(
            here.actor, here.request, patient_id, version, person_id, person, here.asked(info)
        )

    @staticmethod
    async def resolve_end_related_person(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a related person whose role has ended."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.related_persons.end(
            here.actor, here.request, patient_id, version, values["related_person_id"], here.asked(info)
        )
