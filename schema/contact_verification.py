"""Verifying contact points, and what became of messages to them, as mutations. Each resolver asks one service once."""

from typing import Any

import graphene

from auth.policy import Action, Group
from crm.domain.codes import UndeliverableReason
from schema import enums
from schema.changing import VERSIONED, change, mutation, target
from schema.context import Context, Profile
from schema.erasures import allowed_to
from schema.inputs import Target, for_writers, plain
from schema.scalars import DateTime

__all__ = ["ContactVerificationMutations"]

_POINT = graphene.ID(required=True, description="The contact point's id within the record.")
_PATIENT = graphene.ID(required=True, description="Whose contact point.")


class ContactCode(graphene.ObjectType):
    """A one-time code that is on its way to a contact point. Nobody is ever shown the code itself."""

    contact_point_id = graphene.ID(required=True, description="Where it was sent.")
    channel = graphene.Field(enums.Channel, required=True, description="How it was sent.")
    expires_at = graphene.Field(DateTime, required=True, description="Until when it serves.")
    attempts = graphene.Int(required=True, description="How often it may be tried.")


class DeliveryReport(graphene.ObjectType):
    """That a report was taken in; it shows nothing else of the record."""

    id = graphene.ID(required=True, description="The record's id.")
    version = graphene.Int(required=True, description="The record's version, with the mark.")


class StartContactVerificationInput(graphene.InputObjectType):
    """Where to send a code. It changes nothing of the record, and so needs no version."""

    patient_id = _PATIENT
    contact_point_id = _POINT


class ConfirmContactVerificationInput(Target, graphene.InputObjectType):
    """The code, as the person tells it."""

    contact_point_id = _POINT
    code = graphene.String(required=True, description="Six digits.")


class AttestContactPointInput(Target, graphene.InputObjectType):
    """What a member of staff found out about a contact point."""

    contact_point_id = _POINT
    verified = graphene.Boolean(
        required=True, description="Whether it is the person's; if it is not, its verification has FAILED."
    )


class ReportDeliveryInput(graphene.InputObjectType):
    """What became of a message. Nobody who sends reads a version, so none is asked for."""

    patient_id = _PATIENT
    contact_point_id = graphene.ID(
        required=True, description="The contact point's id, as the contact decision gave it."
    )
    delivered = graphene.Boolean(required=True, description="Whether the message arrived.")
    reason: Any = enums.UndeliverableReason(description="Why it did not; UNKNOWN if omitted.")


class ContactVerificationMutations:
    """What can be said of a contact point besides what it is."""

    start_contact_verification = mutation(
        ContactCode,
        StartContactVerificationInput,
        for_writers(
            "Sends a one-time code to a contact point, by which a code that was sent to it before ends. "
            "VALIDATION_FAILED with the rule `no_sender` (nothing here sends to it), `not_in_use`, "
            "`texts_not_permitted`, `confidential_communication` (the person asked to be reached elsewhere; they can "
            "send a code themselves) or `undeliverable`; RATE_LIMITED after three codes to one contact point, or ten "
            "of one person, in an hour; OVERLOADED where it cannot be sent now.",
            Group.CONTACT,
        ),
    )
    confirm_contact_verification = change(
        ConfirmContactVerificationInput,
        for_writers(
            "Verifies a contact point by the code that was sent to it. VALIDATION_FAILED with the rule `wrong_code`, "
            "or `no_code`: none was sent in the last ten minutes, or it was tried five times. A code sent to a value "
            f"that was edited since is wrong. {VERSIONED}",
            Group.CONTACT,
        ),
    )
    attest_contact_point = change(
        AttestContactPointInput,
        "Says, on the word of a member of staff, whether a contact point is the person's. "
        f"{VERSIONED} {allowed_to(Action.ATTEST)}",
    )
    report_delivery = mutation(
        DeliveryReport,
        ReportDeliveryInput,
        "Says what became of a message to a contact point. Failures in a row are counted, and the contact point is not "
        "used until something arrives, or it is changed. "
        f"{allowed_to(Action.INBOUND)}",
    )

    @staticmethod
    async def resolve_start_contact_verification(_root: Any, info: Any, input: dict[str, Any]) -> Any:
        """A code on its way."""
        here: Context = info.context
        point_id = input["contact_point_id"]
        return await here.services.contact_verification.start(here.actor, here.request, input["patient_id"], point_id)

    @staticmethod
    async def resolve_confirm_contact_verification(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a verified contact point."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.contact_verification.confirm(
            here.actor,
            here.request,
            patient_id,
            version,
            values["contact_point_id"],
            values["code"],
            here.asked(info),
        )

    @staticmethod
    async def resolve_attest_contact_point(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with what staff found out."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.contact_verification.attest(
            here.actor,
            here.request,
            patient_id,
            version,
            values["contact_point_id"],
            values["verified"],
            here.asked(info),
        )

    @staticmethod
    async def resolve_report_delivery(_root: Any, info: Any, input: dict[str, Any]) -> Any:
        """That it was taken in."""
        here: Context = info.context
        said = plain(input)
        reason = said.get("reason")
        return await here.services.delivery_reports.report(
            here.actor,
            here.request,
            said["patient_id"],
            said["contact_point_id"],
            said["delivered"],
            None if reason is None else UndeliverableReason(reason),
        )
