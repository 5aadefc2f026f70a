"""Erasure and legal holds as GraphQL shows them, and who may have to do with them. Holds nothing of the person."""

from typing import Any

import graphene

from auth.policy import GRANTS, Action
from crm.audit.event import rfc3339
from crm.catalogue import KeyClass
from crm.domain.erasure import GROUNDS, ErasureReason
from crm.services.erasures import Receipt
from crm.services.holds import Hold, HoldReason
from schema.enums import enum_type
from schema.scalars import DateTime

__all__ = ["ErasureReasonEnum", "ErasureReceipt", "KeyClassEnum", "LegalHold", "LegalHoldReason", "allowed_to"]


def allowed_to(action: Action) -> str:
    """Which roles the policy lets do something, for some purpose of use, as a sentence."""
    return f"For: {', '.join(sorted({grant.role.value for grant in GRANTS if action in grant.actions}))}."


KeyClassEnum = enum_type(
    KeyClass,
    {
        "IDENTITY": "Who the person is: names, date of birth, identifiers.",
        "CONTACT": "Where the person is and how to reach them.",
        "PREFERENCE": "Languages, needs and preferences.",
        "SENSITIVE": "What needs special care: religion, gender, and the background of cultural needs.",
    },
    name="KeyClass",
    about="A class of fields that are sealed under one data key of the patient, and can be erased together.",
)
ErasureReasonEnum = enum_type(
    ErasureReason,
    {reason.name: f"{ground[:1].upper()}{ground[1:]}." for reason, ground in GROUNDS.items()},
    name="ErasureReason",
    about="Why something of a patient is erased.",
)
LegalHoldReason = enum_type(
    HoldReason,
    {
        "LITIGATION": "A claim or lawsuit, under way or expected.",
        "INVESTIGATION": "An investigation, of the organisation's own or of others.",
        "REGULATOR": "An order of an authority.",
        "RETENTION_DUTY": "A duty to keep the record for some time.",
    },
    name="LegalHoldReason",
    about="Why a record must be kept, whoever asks for its erasure.",
)


def _names(text: str) -> graphene.List:
    return graphene.List(graphene.NonNull(graphene.String), required=True, description=text)


class ErasureReceipt(graphene.ObjectType):
    """What was erased, from when on nobody can read it here, and from when on in copies of the database."""

    patient_id = graphene.ID(required=True, description="The record.")
    also = graphene.List(
        graphene.NonNull(graphene.ID),
        required=True,
        description="The records that had been merged into it, and were erased with it.",
    )
    classes = graphene.List(
        graphene.NonNull(KeyClassEnum), required=True, description="The classes whose data keys were destroyed."
    )
    whole = graphene.Boolean(required=True, description="Whether the whole patient was erased, for good.")
    reason = graphene.Field(ErasureReasonEnum, required=True, description="Why it was erased.")
    erased_at = graphene.Field(DateTime, required=True, description="From when on no replica of the service reads it.")
    ledger_seq = graphene.Int(required=True, description="The place in the organisation's erasure ledger, from 1.")
    ledger_hash = graphene.String(required=True, description="The hash of that entry, in hexadecimal digits.")
    effective_in_copies_at = graphene.Field(
        DateTime,
        description="From when on older copies of the database cannot be read either, even with the keys of today; "
        "null while some of `waitsFor` are not destroyed.",
    )
    waits_for = _names("Keys that could still open older copies, and have to be destroyed first.")
    index_waits_for = _names("Index keys under which older copies still hold search values, as keyed hashes.")
    due_at = graphene.Field(
        DateTime, description="When the last of them is due to be destroyed; null where nothing is planned or waits."
    )
    note = graphene.String(
        required=True, description="The same as a signed note (C2SP signed-note, Ed25519), to keep and to show."
    )
    verifier_key = graphene.String(
        description="The key to verify `note` with, as C2SP signed-note writes it; null where the note is not signed. "
        "Keep it apart from the receipt: somebody who forges a note can also forge the key beside it."
    )

    @staticmethod
    def resolve_erased_at(root: Receipt, _info: Any) -> str:
        """The time as text."""
        return rfc3339(root.erased_at)

    @staticmethod
    def resolve_effective_in_copies_at(root: Receipt, _info: Any) -> str | None:
        """The time as text."""
        return None if root.effective_in_copies_at is None else rfc3339(root.effective_in_copies_at)

    @staticmethod
    def resolve_due_at(root: Receipt, _info: Any) -> str | None:
        """The time as text."""
        return None if root.due_at is None else rfc3339(root.due_at)


class LegalHold(graphene.ObjectType):
    """A reason why nothing of a patient may be erased; a hold that was lifted stays as a fact."""

    id = graphene.ID(required=True, description="The hold's id.")
    patient_id = graphene.ID(required=True, description="The record that is held.")
    reason = graphene.Field(LegalHoldReason, required=True, description="Why it is held.")
    placed_by = graphene.String(required=True, description="Who placed the hold, as the subject of their token.")
    placed_at = graphene.Field(DateTime, required=True, description="When it was placed.")
    lifted_by = graphene.String(description="Who lifted it, as the subject of their token; null while it is active.")
    lifted_at = graphene.Field(DateTime, description="When it was lifted; null while it is active.")

    @staticmethod
    def resolve_placed_at(root: Hold, _info: Any) -> str:
        """The time as text."""
        return rfc3339(root.placed_at)

    @staticmethod
    def resolve_lifted_at(root: Hold, _info: Any) -> str | None:
        """The time as text."""
        return None if root.lifted_at is None else rfc3339(root.lifted_at)
