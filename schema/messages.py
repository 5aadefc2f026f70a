"""Messages of patients: what a gateway brings, the queue of those that staff have to read, and their verdicts."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action
from crm.domain.codes import SuspensionVerdict
from crm.domain.keywords import Meaning
from crm.services.message_reading import Confirmation
from schema import contact_enums, enums
from schema.changing import VERSIONED, change, mutation, target
from schema.contact_services import Reply
from schema.context import Context, Profile
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.inputs import Target, plain
from schema.pages import PageInfo, as_connection, page_size
from schema.parts import needed
from schema.scalars import DateTime, LanguageTag
from schema.types import Patient

__all__ = ["MessageMutations", "MessageQueries"]

MessageKind = enum_type(
    Meaning,
    {
        "STOP": "It says stop, in one of many words and languages; it holds at once.",
        "START": "It asks for messages again. Nothing is permitted by that: staff ask the person.",
        "HELP": "It asks who writes.",
        "UNCLEAR": "It may mean to stop. Nothing but emergencies is sent until staff have read it.",
        "OTHER": "It is about something else; nothing is changed.",
    },
    name="MessageKind",
    about="What a message of a patient is taken for.",
)
ConfirmationKind = enum_type(
    Confirmation,
    {
        "STOPPED": "That messages have stopped, and nothing else (47 CFR 64.1200(a)(12)).",
        "OPT_IN_REQUESTED": "That somebody will ask before there are messages again.",
        "HELP": "Who writes, and how to make it end.",
        "CLARIFY": "Whether the person means to stop.",
    },
    name="ConfirmationKind",
    about="What the one text is about that may be sent back.",
)


class MessageConfirmation(graphene.ObjectType):
    """Leave to send one text back, whatever contact decisions say, and only for a short while."""

    kind = needed(ConfirmationKind, "What it is about.")
    until = needed(DateTime, "Until when it may be sent: five minutes after the message was received.")
    language = graphene.Field(
        LanguageTag,
        description="The language of the word, as the sender has it. Null where it is a word of several "
        "languages, or of one that the sender does not have: then yours to choose.",
    )


class InboundMessage(graphene.ObjectType):
    """What a message came to. The same for every number: it does not tell whether somebody is known by it."""

    kind = needed(MessageKind, "What it was taken for.")
    honour_by = graphene.Field(
        DateTime,
        description="By when everybody else who sends for you must have stopped: ten business days after the message "
        "was received. Decisions say so at once.",
    )
    confirmation = graphene.Field(MessageConfirmation, description="What may be sent back; null for nothing.")


class WaitingMessage(graphene.ObjectType):
    """One message that staff have to read. Its words are in the patient's `suspensions`, under the same id."""

    id = needed(graphene.ID, "The id of the suspension.")
    kind = needed(contact_enums.SuspensionKind, "Why it waits.")
    received_at = needed(DateTime, "When it came in.")
    patient = graphene.Field(Patient, required=True, description="Whose number or mailbox it came from.")


class WaitingMessageEdge(graphene.ObjectType):
    """One message of a page."""

    node = graphene.Field(WaitingMessage, required=True, description="The message.")
    cursor = graphene.String(required=True, description="The place of this message in the queue; opaque.")


class WaitingMessageConnection(graphene.ObjectType):
    """One page of the queue."""

    edges = graphene.List(graphene.NonNull(WaitingMessageEdge), required=True, description="The messages of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the queue.")


class RecordInboundMessageInput(graphene.InputObjectType):
    """A message that somebody sent to the organisation."""

    gateway = graphene.String(description="Within what your ids count, if you bring messages of several; no `/` in it.")
    message_id = graphene.String(required=True, description="The gateway's id of the message, up to 200 characters.")
    from_ = graphene.String(required=True, name="from", description="The number or mailbox it came from.")
    to = graphene.String(description="The number or mailbox it was sent to; it tells the sender that was answered.")
    channel: Any = enums.Channel(required=True, description="SMS, VOICE, EMAIL, FAX, TEXTPHONE or CHAT.")
    text = graphene.String(required=True, description="What the person wrote. It is stored sealed, or not at all.")
    received_at = DateTime(description="When the gateway received it; now where nothing is said, and never later.")
    sender = graphene.String(description="The registered sender that was answered.")
    in_reply_to = enums.CommunicationPurpose(description="The purpose of the message that was answered.")


class ResolveMessageInput(Target, graphene.InputObjectType):
    """What a waiting message was, after somebody has read it."""

    suspension_id = graphene.ID(required=True, description="The message's id, as in `waitingMessages`.")
    verdict: Any = contact_enums.SuspensionVerdict(required=True, description="What it was.")


class MessageQueries:
    """The queue."""

    waiting_messages = graphene.Field(
        WaitingMessageConnection,
        first=graphene.Int(description="How many at most: 1 to 100, 25 if omitted."),
        after=graphene.String(description="The cursor after which to go on; from the first if omitted."),
        description="Messages that staff have to read, the longest waiting first; the words are in the patient's "
        f"`suspensions`. {allowed_to(Action.RESOLVE)}",
    )

    @staticmethod
    async def resolve_waiting_messages(
        _root: Any, info: Any, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of the queue."""
        here: Context = info.context
        size = page_size(first, here.limits)
        return as_connection(
            await here.services.messages.queue(here.actor, here.request, size, after, here.asked(info))
        )


class MessageMutations:
    """Bringing a message, and judging one."""

    record_inbound_message = mutation(
        InboundMessage,
        RecordInboundMessageInput,
        "Takes in a message, and does at once what it asks for; there is no version to expect. Brought again under its "
        "id it is answered as before, and nothing is done; VALIDATION_FAILED (`other_content`) where it then says "
        f"something else, which is done nevertheless if it says stop. {allowed_to(Action.INBOUND)}",
    )
    resolve_message = change(
        ResolveMessageInput,
        "Says what a waiting message was. STOP does as the message itself would have, OPTED_IN permits what it asked "
        "for, at the number or mailbox it came from. VALIDATION_FAILED with `unknown_suspension`, "
        f"`already_resolved`, `unknown_contact_point`. {VERSIONED} {allowed_to(Action.RESOLVE)}",
    )

    @staticmethod
    async def resolve_record_inbound_message(_root: Any, info: Any, input: dict[str, Any]) -> Reply:
        """What the message came to."""
        here: Context = info.context
        message = plain(input)
        message["from"] = message.pop("from_")
        return await here.services.messages.take(here.actor, here.request, message)

    @staticmethod
    async def resolve_resolve_message(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile after the verdict."""
        here: Context = info.context
        patient_id, version, values = target(input)
        verdict = SuspensionVerdict(values["verdict"])
        return await here.services.messages.resolve(
            here.actor, here.request, patient_id, version, values["suspension_id"], verdict, here.asked(info)
        )
