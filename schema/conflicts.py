"""What a caller is told of a change that met others, as GraphQL has it. Decides nothing."""

from collections.abc import Mapping
from typing import Any

from crm.domain.conflicts import OnConflict
from crm.store.writing import Merged
from schema.enums import enum_type

__all__ = ["OnConflictEnum", "merges_told"]

OnConflictEnum = enum_type(
    OnConflict,
    {
        "REFUSE": "It is refused with VERSION_CONFLICT.",
        "MERGE_DISJOINT": "It is made nevertheless where all changes since are ordinary ones of other fields, which "
        "do not belong together with those it changes; the answer then says so in `extensions.merged`. Else it is "
        "refused.",
    },
    about="What becomes of a change of a record that has changed since it was read.",
)


def merges_told(outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """The `extensions` of an answer: by response key, what each change was put on top of. Empty where nothing was."""
    found = {key: outcome["merged"] for key, outcome in outcomes.items() if _is_merged(outcome)}
    told = {
        key: {"expectedVersion": merged.version, "changedFields": list(merged.paths)} for key, merged in found.items()
    }
    return {"merged": told} if told else {}


def _is_merged(outcome: Any) -> bool:
    return isinstance(outcome, dict) and isinstance(outcome.get("merged"), Merged)
