"""Legal holds as GraphQL shows them, and who may have to do with them. Holds nothing of the person."""

from typing import Any

import graphene

from auth.policy import GRANTS, Action
from crm.audit.event import rfc3339
from crm.services.holds import Hold, HoldReason
from schema.enums import enum_type
from schema.scalars import DateTime

__all__ = ["LegalHold", "LegalHoldReason", "allowed_to"]


def allowed_to(action: Action) -> str:
    """Which roles the policy lets do something, for some purpose of use, as a sentence."""
    return f"For: {', '.join(sorted({grant.role.value for grant in GRANTS if action in grant.actions}))}."


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
