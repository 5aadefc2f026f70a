"""The mutation root: each resolver asks one service once, and translates. Decides nothing."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action, Group
from crm.catalogue import KeyClass
from crm.domain.break_glass import UNREVIEWED, BreakGlassReason, Verdict
from crm.domain.erasure import ErasureReason
from crm.services.erasures import Receipt
from crm.services.holds import Hold, HoldReason
from schema import inputs
from schema.break_glass import BreakGlassGrant, RequestBreakGlassInput, ReviewBreakGlassInput
from schema.changing import VERSIONED, change, mutation, target
from schema.consents import ConsentMutations
from schema.contact_verification import ContactVerificationMutations
from schema.context import Context, Profile
from schema.duplicates import DuplicatesMutations
from schema.erasures import ErasureReceipt, LegalHold, allowed_to
from schema.guarded import GuardedMutations
from schema.merging import MergingMutations
from schema.messages import MessageMutations
from schema.needs import NeedsMutations

__all__ = ["Mutation"]


class Mutation(
    ConsentMutations,
    GuardedMutations,
    ContactVerificationMutations,
    MessageMutations,
    NeedsMutations,
    MergingMutations,
    DuplicatesMutations,
    graphene.ObjectType,
):
    """Everything that can be changed. A change and its entry in the access log are stored together, or neither is."""

    register_patient = change(
        inputs.RegisterPatientInput, f"Makes a new record, version 1. {allowed_to(Action.REGISTER)}"
    )
    update_preferences = change(
        inputs.UpdatePreferencesInput, f"Changes preferences and needs. {VERSIONED} {allowed_to(Action.UPDATE)}"
    )
    update_identity = change(
        inputs.UpdateIdentityInput, f"Changes who the person is. {VERSIONED} {allowed_to(Action.UPDATE)}"
    )
    add_contact_point = change(
        inputs.AddContactPointInput,
        inputs.for_writers(f"Adds a contact point, unverified. {VERSIONED}", Group.CONTACT),
    )
    update_contact_point = change(
        inputs.UpdateContactPointInput,
        inputs.for_writers(f"Changes a contact point; a new value has to be verified anew. {VERSIONED}", Group.CONTACT),
    )
    retire_contact_point = change(
        inputs.RetireContactPointInput,
        inputs.for_writers(f"Ends the use of a contact point, which stays in the record. {VERSIONED}", Group.CONTACT),
    )
    erase_patient = mutation(
        ErasureReceipt,
        inputs.ErasePatientInput,
        "Destroys the data keys of a patient, or of some classes of their fields, on every replica at once and for "
        "good. What was erased answers ERASED: a whole patient altogether and for ever, a class field by field, until "
        f"somebody fills it anew. LEGAL_HOLD while a legal hold is active; {VERSIONED} {allowed_to(Action.ERASE)}",
    )
    place_legal_hold = mutation(
        LegalHold,
        inputs.PlaceLegalHoldInput,
        "Keeps a record from erasure until the hold is lifted; the record itself stays as it is, and in use. "
        f"Several holds stand side by side. ERASED if it came too late. {allowed_to(Action.HOLD)}",
    )
    lift_legal_hold = mutation(
        LegalHold,
        inputs.LiftLegalHoldInput,
        "Ends one hold; who lifts it need not be who placed it. VALIDATION_FAILED for a hold that is not one of this "
        f"record's (`unknown_hold`) or has ended (`already_lifted`). {allowed_to(Action.HOLD)}",
    )
    request_break_glass = mutation(
        BreakGlassGrant,
        RequestBreakGlassInput,
        "Leave to read one record with the purpose of use BTG, at once and for a while; restricted parts are then "
        "shown. Who reads is marked in the access log, the patient can see it there, and a privacy officer reviews it. "
        "Asked again before it was reviewed or ended, it is answered as it is. RATE_LIMITED for somebody of whom "
        f"{UNREVIEWED} wait for a review. "
        f"{allowed_to(Action.BREAK_GLASS)}",
    )
    review_break_glass = mutation(
        BreakGlassGrant,
        ReviewBreakGlassInput,
        "The verdict on one grant, by which it leaves the queue. FORBIDDEN for whoever asked for it; VALIDATION_FAILED "
        f"(`already_reviewed`) a second time. {allowed_to(Action.REVIEW)}",
    )

    @staticmethod
    async def resolve_register_patient(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """A new profile."""
        here: Context = info.context
        return await here.services.changes.register(here.actor, here.request, inputs.plain(input), here.asked(info))

    @staticmethod
    async def resolve_update_preferences(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile after new preferences."""
        return await _update(info, input)

    @staticmethod
    async def resolve_update_identity(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile after new facts."""
        return await _update(info, input)

    @staticmethod
    async def resolve_add_contact_point(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with one more contact point."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.changes.add_contact_point(
            here.actor, here.request, patient_id, version, values["contact_point"], here.asked(info)
        )

    @staticmethod
    async def resolve_update_contact_point(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a changed contact point."""
        here: Context = info.context
        patient_id, version, values = target(input)
        point_id, point = values["contact_point_id"], values["contact_point"]
        return await here.services.changes.update_contact_point(
            here.actor, here.request, patient_id, version, point_id, point, here.asked(info)
        )

    @staticmethod
    async def resolve_retire_contact_point(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with a retired contact point."""
        here: Context = info.context
        patient_id, version, values = target(input)
        return await here.services.changes.retire_contact_point(
            here.actor, here.request, patient_id, version, values["contact_point_id"], here.asked(info)
        )

    @staticmethod
    async def resolve_erase_patient(_root: Any, info: Any, input: dict[str, Any]) -> Receipt:
        """The receipt of what was erased."""
        here: Context = info.context
        patient_id, version, values = target(input)
        chosen = values.get("classes")
        classes = None if chosen is None else frozenset(map(KeyClass, chosen))
        reason = ErasureReason(values["reason"])
        return await here.services.erasures.erase(here.actor, here.request, patient_id, version, classes, reason)

    @staticmethod
    async def resolve_place_legal_hold(_root: Any, info: Any, input: dict[str, Any]) -> Hold:
        """The new hold."""
        here: Context = info.context
        reason = HoldReason(input["reason"])
        return await here.services.holds.place(here.actor, here.request, input["patient_id"], reason)

    @staticmethod
    async def resolve_lift_legal_hold(_root: Any, info: Any, input: dict[str, Any]) -> Hold:
        """The hold that has ended."""
        here: Context = info.context
        return await here.services.holds.lift(here.actor, here.request, input["patient_id"], input["hold_id"])

    @staticmethod
    async def resolve_request_break_glass(_root: Any, info: Any, input: dict[str, Any]) -> Mapping[str, Any]:
        """The new grant."""
        here: Context = info.context
        asked = inputs.plain(input)
        reason = BreakGlassReason(asked["reason"])
        return await here.services.break_glass.request(
            here.actor, here.request, asked["patient_id"], reason, asked["text"], asked.get("minutes")
        )

    @staticmethod
    async def resolve_review_break_glass(_root: Any, info: Any, input: dict[str, Any]) -> Mapping[str, Any]:
        """The grant with its verdict."""
        here: Context = info.context
        said = inputs.plain(input)
        return await here.services.break_glass.review(
            here.actor,
            here.request,
            said["grant_id"],
            Verdict(said["verdict"]),
            said.get("note"),
            here.selected(info, "BreakGlassGrant"),
        )


async def _update(info: Any, submitted: dict[str, Any]) -> Profile:
    here: Context = info.context
    patient_id, version, values = target(submitted)
    return await here.services.changes.update(here.actor, here.request, patient_id, version, values, here.asked(info))
