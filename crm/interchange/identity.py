"""Owns the keys by which an incoming FHIR record may be recognised, and the digest of its content.

Pure; docs/decisions/0012 gives the rule. Looking the keys up among stored patients is the matter of the import service.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from crm.services.recognition import Incoming, Pair, Person

__all__ = ["incoming_of"]

_RECORD_NUMBER = "MR"  # http://terminology.hl7.org/CodeSystem/v2-0203: medical record number
_MAIN_USES = frozenset({"official", "usual"})
_PAST_USES = frozenset({"old", "temp"})


def incoming_of(resource: Mapping[str, Any], *, org: str, source: str, person: Person | None = None) -> Incoming:
    """The keys of `resource`, a JSON object that need not be valid: what has the wrong shape is no key.

    `identifiers` are those in use that have a system, the primary one first: a medical record number, else one in
    official or usual use, else the first. An old or temporary number may be somebody else's by now, and identifies
    nobody. The digest is over the whole resource with its keys sorted. `person` is whom the resource is about, where it
    was understood.
    """
    source_id = resource.get("id")
    if not isinstance(source_id, str) or not source_id:
        source_id = None
    meta = resource.get("meta")
    ours = isinstance(meta, Mapping) and meta.get("source") == f"urn:heed:{org}"
    content = json.dumps(resource, sort_keys=True, separators=(",", ":")).encode()
    return Incoming(
        source=source,
        heed_id=source_id if ours else None,
        source_id=source_id,
        identifiers=_identifiers(resource.get("identifier")),
        digest_material=hashlib.sha256(content).digest(),
        person=person or Person(),
    )


def _identifiers(entries: object) -> tuple[Pair, ...]:
    found: list[tuple[int, Pair]] = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping):
            continue
        system, value, use = entry.get("system"), entry.get("value"), entry.get("use")
        if not (isinstance(system, str) and isinstance(value, str)) or (isinstance(use, str) and use in _PAST_USES):
            continue
        pair = system.strip(), value.strip()
        if all(pair):
            found.append((_precedence(entry), pair))
    found.sort(key=lambda ranked: ranked[0])  # stable: among equals the order of the record decides
    return tuple(dict.fromkeys(pair for _, pair in found))


def _precedence(entry: Mapping[str, Any]) -> int:
    use, kind = entry.get("use"), entry.get("type")
    codings = kind.get("coding") if isinstance(kind, Mapping) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, Mapping) and coding.get("code") == _RECORD_NUMBER:
            return 0
    return 1 if isinstance(use, str) and use in _MAIN_USES else 2
