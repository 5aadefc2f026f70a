"""Contact decisions: what a sender asks before it sends, alone or by the thousand, and how staff have one explained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

import graphene
from graphene.utils.str_converters import to_snake_case

from auth.policy import Action
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision import Outcome, Reason, explained
from crm.domain.decision.explanation import REASONS
from crm.services.contact import Inquiry
from schema import contact_enums, enums
from schema.context import Context
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.inputs import plain
from schema.parts import Address, needed, words
from schema.scalars import DateTime, LanguageTag

__all__ = ["ContactQueries"]


class _Recipient(StrEnum):
    """Who is contacted."""

    PATIENT = "PATIENT"
    RELATED_PERSON = "RELATED_PERSON"


ContactOutcome = enum_type(
    Outcome,
    {
        "ALLOW": "Send, exactly as the decision says, before it expires.",
        "DENY": "Do not send.",
        "DEFER": "Not now: ask again at `nextPermittedAt`.",
        "MANUAL": "Do not send; a person has to look.",
        "NOT_FOUND": "There is no such patient, or none that you may know of.",
    },
    name="ContactOutcome",
)
ContactReason = enum_type(Reason, {reason.name: text for reason, text in REASONS.items()}, name="ContactReason")
ContactRecipient = enum_type(
    _Recipient,
    {"PATIENT": "The patient.", "RELATED_PERSON": "A related person, instead of the patient."},
    name="ContactRecipient",
)


def _list(of: Any, text: str) -> graphene.Field:
    return graphene.Field(graphene.List(graphene.NonNull(of)), required=True, description=text)


class ChosenContactPoint(graphene.ObjectType):
    """The one contact point to use, with what may be said where others can listen."""

    id = needed(graphene.ID, "The id within the record.")
    system = needed(enums.ContactPointSystem, "What kind of contact point it is.")
    value = needed(graphene.String, "The number or address; E.164 for telephones where it can be read so.")
    extension = words("The extension to dial after a telephone number.")
    voicemail_ok = graphene.Field(enums.TriState, description="Whether a message may be left on its voicemail.")
    detailed_message_ok = graphene.Field(
        enums.TriState, description="Whether such a message may say more than who called."
    )


class ContactCopy(graphene.ObjectType):
    """A related person who is contacted as well."""

    related_person_id = needed(graphene.ID, "The id of the related person within the record.")
    channel = needed(enums.Channel, "How to reach them.")
    contact_point = graphene.Field(ChosenContactPoint, description="Where; null where the channel needs none.")
    language = graphene.Field(LanguageTag, description="In which language.")
    format = needed(graphene.String, "`STANDARD`, or a word of `AccessibleFormat`.")
    salutation = needed(graphene.String, "How to address them.")


class ContactDecision(graphene.ObjectType):
    """May we contact this patient, for this purpose, where, in which language and format, now, and why (not)?

    Anything but ALLOW shows nothing of the person but reasons.
    """

    patient_id = needed(graphene.ID, "The id that was asked about.")
    outcome = needed(ContactOutcome, "What to do.")
    reasons = _list(
        ContactReason,
        "Why: the first reason decided. What stands behind OK tells how the answer departs from what the person would "
        "like best. Empty with NOT_FOUND.",
    )
    channel = graphene.Field(enums.Channel, description="The channel to use.")
    contact_point = graphene.Field(
        ChosenContactPoint,
        description="The contact point to use. Null where the channel needs none, and where it is a confidential one "
        "that you may not see.",
    )
    address = graphene.Field(Address, description="The address of a letter.")
    confidential = needed(
        graphene.Boolean, "Whether the person asked for this way instead of all others: use no other, and tell nobody."
    )
    recipient = graphene.Field(ContactRecipient, description="Who is contacted; null where nobody is.")
    stand_in = graphene.ID(description="The id of the related person who is contacted instead of the patient.")
    copies = _list(ContactCopy, "Who is contacted as well.")
    language = graphene.Field(LanguageTag, description="The language to use; null where nobody knows.")
    format = words("`STANDARD`, or the word of `AccessibleFormat` in which to write.")
    salutation = words("How to address whoever is contacted.")
    next_permitted_at = graphene.Field(
        DateTime, description="With DEFER: when to ask again; null where no such time is known."
    )
    policy_version = needed(graphene.String, "Version of the contact rules: `contact:` and a digest.")
    decision_id = graphene.ID(description="Names the decision in the access log; null with NOT_FOUND.")
    expires_at = graphene.Field(
        DateTime,
        description="From then on the decision must not be used: ask again. With `at` it is counted from that moment, "
        "and says how long a decision of then would hold: this one permits nothing. Null with NOT_FOUND.",
    )
    unmet_needs = _list(
        graphene.String,
        "Which of the person's needs and formats this decision leaves unmet, as words of `AccessNeedKind` and "
        "`AccessibleFormat`. Always empty for whoever may not read access needs, such as HMARKT: they learn from the "
        "reasons ACCESS_NEED_UNMET and ACCESS_NEED_CONFLICT that there are some. The query of the same name lists the "
        "patients of such decisions.",
    )
    explanation = _list(graphene.String, "The decision as sentences, without any value of the person's.")
    simulated = needed(
        graphene.Boolean,
        "Whether it is about another moment or about consents that nobody gave: such a decision permits nothing.",
    )

    @staticmethod
    def resolve_explanation(root: Mapping[str, Any], _info: Any) -> Sequence[str]:
        """Made only where somebody asks for them."""
        return explained(replace(root["explanation"], considered=(), unmet=root["unmet_needs"], zone=None))


class ConsideredContact(graphene.ObjectType):
    """A way that was looked at and not chosen."""

    channel = needed(enums.Channel, "The channel.")
    contact_point_id = graphene.ID(description="The contact point or address; null where there is none.")
    reason = needed(ContactReason, "Why not; OK where another way was only preferred.")


class ContactExplanation(graphene.ObjectType):
    """A decision, with what staff may know of how it came about."""

    decision = needed(ContactDecision, "The decision.")
    sentences = _list(graphene.String, "The decision as sentences, with what was considered.")
    considered = _list(ConsideredContact, "What was looked at and not chosen, the best first.")


class SupposedConsent(graphene.InputObjectType):
    """A consent directive that nobody gave, newer than all others; what is left out is not limited."""

    decision = graphene.InputField(contact_enums.ConsentDecision, required=True, description="What it would say.")
    channel = graphene.InputField(enums.Channel, description="For which channel.")
    contact_point_id = graphene.InputField(graphene.ID, description="For which contact point.")
    purpose = graphene.InputField(enums.CommunicationPurpose, description="For which purpose.")
    sender = graphene.InputField(graphene.String, description="For which registered sender.")


_SENDER = "The registered sender; the one of your application if omitted, else one that can text and e-mail."
_AT = "Another moment to ask about: then the decision is simulated, and permits nothing."
_CHANNELS = "The channels that you would use now, of those of the sender; all of them if omitted."
_WHO_NOT = "NOT_FOUND is an outcome, and the same for an unknown id and for a record that you may not know of."


def _question(**whom: Any) -> dict[str, Any]:
    return {
        **whom,
        "purpose": graphene.Argument(enums.CommunicationPurpose, required=True, description="Why they are contacted."),
        "sender": graphene.Argument(graphene.String, description=_SENDER),
        "at": graphene.Argument(DateTime, description=_AT),
        "channels": graphene.Argument(graphene.List(graphene.NonNull(enums.Channel)), description=_CHANNELS),
    }


class ContactQueries:
    """What can be asked before a message is sent."""

    contact_decision = graphene.Field(
        ContactDecision,
        **_question(patient_id=graphene.ID(required=True, description="The record's id.")),
        description=f"May this patient be contacted now, how, and why (not)? {_WHO_NOT} {allowed_to(Action.DECIDE)}",
    )
    contact_decisions = graphene.Field(
        graphene.List(ContactDecision),
        required=True,
        **_question(
            patient_ids=graphene.List(
                graphene.NonNull(graphene.ID),
                required=True,
                description="At most 1,000 ids. Give them as a variable: a document has at most 1,000 tokens.",
            )
        ),
        description="The same for many patients, in the order of `patientIds`. An element is null, beside an error "
        f"with its place, where you need a break-glass grant for that record. {_WHO_NOT} {allowed_to(Action.DECIDE)}",
    )
    explain_contact = graphene.Field(
        ContactExplanation,
        **_question(patient_id=graphene.ID(required=True, description="The record's id.")),
        what_if=graphene.Argument(
            graphene.List(graphene.NonNull(SupposedConsent)),
            description="Consents to suppose, at most 20: then the decision is simulated.",
        ),
        description=f"The same decision for staff, as sentences. {_WHO_NOT} {allowed_to(Action.DECIDE)} "
        "Of them, whoever may read `consents`.",
    )

    @staticmethod
    async def resolve_contact_decision(_root: Any, info: Any, patient_id: str, **question: Any) -> Mapping[str, Any]:
        """One decision."""
        here: Context = info.context
        return await here.services.contact.decide(here.actor, here.request, patient_id, _inquiry(info, **question))

    @staticmethod
    async def resolve_contact_decisions(
        _root: Any, info: Any, patient_ids: Sequence[str], **question: Any
    ) -> Sequence[Any]:
        """Decisions and refusals in step with the ids."""
        here: Context = info.context
        return await here.services.contact.decide_many(
            here.actor, here.request, patient_ids, _inquiry(info, **question)
        )

    @staticmethod
    async def resolve_explain_contact(_root: Any, info: Any, patient_id: str, **question: Any) -> Mapping[str, Any]:
        """One decision and how it came about."""
        here: Context = info.context
        return await here.services.contact.explain(here.actor, here.request, patient_id, _inquiry(info, **question))


def _inquiry(
    info: Any,
    purpose: Any,
    sender: str | None = None,
    at: str | None = None,
    channels: Sequence[Any] | None = None,
    what_if: Sequence[Any] | None = None,
) -> Inquiry:
    """What is asked; of the answer, only what the client selects counts as shown."""
    here: Context = info.context
    asked = here.selected(info, "ContactDecision") | here.selected(info, "ContactExplanation")
    return Inquiry(
        CommunicationPurpose(plain(purpose)),
        sender,
        at,
        None if channels is None else [Channel(plain(channel)) for channel in channels],
        [_directive(plain(each)) for each in what_if or ()],
        frozenset(map(to_snake_case, asked)),
    )


def _directive(said: Mapping[str, Any]) -> dict[str, Any]:
    scope = {name: value for name, value in said.items() if name != "decision" and value is not None}
    return {"decision": said["decision"], "scope": scope}
