"""Recording what people permit and forbid: the input of a consent directive, and the mutation that appends it."""

from typing import Any

import graphene

from auth.policy import Action
from schema import contact_enums, enums
from schema.changing import VERSIONED, change, target
from schema.context import Context, Profile
from schema.erasures import allowed_to
from schema.inputs import Target
from schema.scalars import DateTime, LanguageTag

__all__ = ["ConsentMutations"]


class ConsentScopeInput(graphene.InputObjectType):
    """What a directive is about. What is left out is not limited: an empty scope is every contact."""

    channel = enums.Channel(description="One channel.")
    contact_point_id = graphene.ID(description="One contact point, of the patient or of a related person.")
    purpose = enums.CommunicationPurpose(description="One purpose of communication.")
    sender = graphene.String(description="One registered sender, up to 200 characters.")


class ConsentGiverInput(graphene.InputObjectType):
    """Who gives a directive. A patient speaks for themself; a proxy never as the patient."""

    role = contact_enums.GiverRole(
        description="In which right; PATIENT where nothing is said, of a proxy LASTING_POWER_OF_ATTORNEY."
    )
    related_person_id = graphene.ID(description="The related person who gives it, where it is not the patient.")


class ConsentCaptureInput(graphene.InputObjectType):
    """The evidence. Who entered it, and in which application, is taken from the token."""

    at = DateTime(description="When it was said; now where nothing is said, and never later.")
    channel = enums.Channel(description="How it was said.")
    wording_id = graphene.String(description="Which text the giver was shown or read, up to 200 characters.")
    wording_version = graphene.String(description="Which version of that text, up to 200 characters.")
    language = LanguageTag(description="In which language.")
    evidence = graphene.String(
        description="A reference to a form or recording, up to 200 characters; nothing about the person."
    )


class RecordConsentInput(Target, graphene.InputObjectType):
    """One directive to append. None that is there is changed by it."""

    decision = contact_enums.ConsentDecision(description="What it says.", required=True)
    scope = ConsentScopeInput(description="What it is about; every contact where nothing is said.")
    giver = ConsentGiverInput(description="Who gives it.")
    capture = ConsentCaptureInput(description="The evidence.")
    confirmed_at = DateTime(description="When it was confirmed by a second act (double opt-in); not in the future.")
    effective_from = DateTime(
        description="From when it holds. Where nothing is said, a PERMIT from when it was said, and a DENY from now. A "
        "PERMIT cannot begin in the future: it would beat what is forbidden until then."
    )
    effective_to = DateTime(description="Until when it holds, exclusive; for good where nothing is said.")
    received_at = DateTime(
        description="When it reached the organisation, from which `honourBy` is counted; now where nothing is said, "
        "and never later."
    )
    note = graphene.String(description="What to know about it, up to 4,000 characters; no diagnosis.")


class ConsentMutations:
    """The mutation of this room."""

    record_consent = change(
        RecordConsentInput,
        "Appends a consent directive to `consents`; what repeats one in force changes nothing, not even the version. "
        "VALIDATION_FAILED with `not_your_right` for a giver in whose name you may not speak, `unknown_contact_point`, "
        "`unknown_related_person`, `future`, and `too_many` or `too_large` where the history is full; room is kept "
        f"for prohibitions. {VERSIONED} {allowed_to(Action.CONSENT)}",
    )

    @staticmethod
    async def resolve_record_consent(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with one directive more."""
        here: Context = info.context
        patient_id, version, directive = target(input)
        return await here.services.consents.record(
            here.actor, here.request, patient_id, version, directive, here.asked(info)
        )
