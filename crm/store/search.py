"""Blind-index look-ups: from a normalised term to the ids whose records may hold it. Opens nothing."""

from collections.abc import Iterable

from sqlalchemy import BigInteger, bindparam, select

from crm.catalogue import Index
from crm.crypto.keyset import KeySet
from crm.store.database import Fetch
from crm.store.statements import any_of, prepare
from crm.store.tables import blind_index

MAX_CANDIDATES = 1_000
"""Candidates of one look-up that are opened and compared; a 16-bit index stays far below this."""

_CANDIDATES = prepare(
    select(blind_index.c.patient_id)
    .where(
        blind_index.c.org == bindparam("org"),
        blind_index.c.index_code == bindparam("code"),
        any_of(blind_index.c.key_ver, "versions"),
        any_of(blind_index.c.value, "hashes"),
        blind_index.c.patient_id > bindparam("after"),
    )
    .distinct()
    .order_by(blind_index.c.patient_id)
    .limit(MAX_CANDIDATES)
)


async def candidates(fetch: Fetch, keys: KeySet, org: str, index: Index, term: bytes, after: str) -> list[str]:
    """Ids greater than `after`, ascending, whose truncated index value equals the term's; some may be false hits.

    Looked for under every version of the index key, since a rotation moves the values little by little.
    """
    versions = _versions(keys)
    hashes = [keys.index_value(org, index.name, index.bits, term, version) for version in versions]
    rows = await fetch(_CANDIDATES, org=org, code=index.code, versions=versions, hashes=hashes, after=after)
    return [row["patient_id"] for row in rows]


_ANY = prepare(
    select(blind_index.c.patient_id)
    .where(
        blind_index.c.org == bindparam("org"),
        blind_index.c.index_code == bindparam("code"),
        any_of(blind_index.c.key_ver, "versions"),
        any_of(blind_index.c.value, "hashes"),
        blind_index.c.patient_id > bindparam("after"),
    )
    .distinct()
    .order_by(blind_index.c.patient_id)
    .limit(bindparam("limit", type_=BigInteger))
)


async def any_candidates(
    fetch: Fetch, keys: KeySet, org: str, index: Index, terms: Iterable[bytes], after: str, limit: int
) -> list[str]:
    """The first `limit` ids greater than `after`, ascending, that the index gives for any of many terms."""
    versions = _versions(keys)
    hashes = {keys.index_value(org, index.name, index.bits, term, version) for term in terms for version in versions}
    rows = await fetch(
        _ANY, org=org, code=index.code, versions=versions, hashes=sorted(hashes), after=after, limit=limit
    )
    return [row["patient_id"] for row in rows]


_HOLDERS = prepare(
    select(blind_index.c.value, blind_index.c.patient_id).where(
        blind_index.c.org == bindparam("org"),
        blind_index.c.index_code == bindparam("code"),
        any_of(blind_index.c.key_ver, "versions"),
        any_of(blind_index.c.value, "hashes"),
    )
)


async def holders(fetch: Fetch, keys: KeySet, org: str, index: Index, terms: Iterable[bytes]) -> dict[bytes, list[str]]:
    """For each of many terms the ids that may hold it, in one statement."""
    versions = _versions(keys)
    hashes = {
        term: {keys.index_value(org, index.name, index.bits, term, version) for version in versions} for term in terms
    }
    if not hashes:
        return {}
    rows = await fetch(
        _HOLDERS, org=org, code=index.code, versions=versions, hashes=sorted(set().union(*hashes.values()))
    )
    found: dict[bytes, set[str]] = {}
    for row in rows:
        found.setdefault(bytes(row["value"]), set()).add(row["patient_id"])
    return {term: sorted(set().union(*(found.get(value, ()) for value in values))) for term, values in hashes.items()}


def _versions(keys: KeySet) -> list[int]:
    """Every version that values may be stored under. Raises KeyUnavailable where this process may not search.

    Nor may one that has not seen the key store for too long: others may have moved the values to a version that it does
    not know, and it would find nobody.
    """
    keys.check_age()
    return sorted({keys.index_version, *keys.index_versions()})
