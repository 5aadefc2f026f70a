"""Under which ids other systems know the person: how such an id is looked up. Internal; no client reads these."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict


class SourceRecord(TypedDict):
    """The record `id` of the system `source`."""

    source: str
    id: str


SourceRecords = list[SourceRecord]


def term(source: str, record_id: str) -> bytes:
    """The index term of one foreign id: both parts behind their length, so that no two pairs look alike."""
    return b"".join(len(part.encode()).to_bytes(2, "big") + part.encode() for part in (source, record_id))


def terms(values: Mapping[str, Any]) -> set[bytes]:
    """The index terms of all foreign ids of a record."""
    return {term(entry["source"], entry["id"]) for entry in values.get("source_records") or ()}
