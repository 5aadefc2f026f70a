"""What every mutation of a patient has: the record it is about, the version it is based on, and what it answers."""

from typing import Any

import graphene

from schema.inputs import plain
from schema.types import Patient

__all__ = ["VERSIONED", "change", "mutation", "target"]

VERSIONED = "VERSION_CONFLICT if it has changed since `expectedVersion`; nothing is changed then."


def mutation(of: type[graphene.ObjectType], kind: type[graphene.InputObjectType], text: str) -> graphene.Field:
    """A field of the mutation root that takes one input of `kind`."""
    return graphene.Field(
        of,  # nullable, so that an error does not take the answers of earlier changes along
        input=graphene.Argument(kind, required=True, description="What to change."),
        description=text,
    )


def change(kind: type[graphene.InputObjectType], text: str) -> graphene.Field:
    """The same for what changes a record and answers it."""
    return mutation(Patient, kind, f"{text} Answers the record as it is now stored.")


def target(submitted: dict[str, Any]) -> tuple[str, int | None, dict[str, Any]]:
    """The record, the version the change is based on, and the rest as plain values."""
    values: dict[str, Any] = plain(submitted)
    values.pop("on_conflict", None)  # which is part of the request by now (`repeating`)
    return values.pop("patient_id"), values.pop("expected_version", None), values
