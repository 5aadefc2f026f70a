"""Rotation of data keys: a patient's cells sealed anew under a key that nobody has seen.

For the suspicion that somebody saw data keys: new wrap keys would not help against that. Wherever it stopped, it goes
on with the same time: whose key is older still has to be done.
"""

import time
from dataclasses import dataclass

from crm.catalogue import KeyClass
from crm.errors import KeyUnavailable, NotFound
from crm.services.key_life.custodian import Custodian
from crm.store import resealing

__all__ = ["Resealed", "rotate"]


@dataclass(slots=True)
class Resealed:
    """How many data keys were replaced, and how many classes of patients could not be opened and are as they were.

    `before` is the time, microseconds since 1970, with which an unfinished run goes on.
    """

    before: int
    patients: int = 0
    moved: int = 0
    left_out: int = 0
    seconds: float = 0.0


async def rotate(custodian: Custodian, before: int, patient_id: str | None = None) -> Resealed:
    """Replaces the data keys that were made before that time: of one patient, or of everybody.

    Raises NotFound for a patient without such keys, KeyUnavailable unless this process holds every class.
    """
    if lacking := sorted(set(KeyClass) - custodian.keyroom.keys.held):
        raise KeyUnavailable(f"data keys cannot be replaced here, without the keys of {', '.join(lacking)}")
    await custodian.keyroom.look()
    done, begun = Resealed(before), time.monotonic()
    for org in await custodian.organisations():
        await _rotate_one(custodian, org, done, patient_id)
    if patient_id is not None and not done.patients:
        raise NotFound
    done.seconds = time.monotonic() - begun
    return done


async def _rotate_one(custodian: Custodian, org: str, done: Resealed, patient_id: str | None) -> None:
    database, keys = custodian.store.database, custodian.keyroom.keys
    after, of = "", await resealing.count(database, org, done.before)
    seen = done.patients
    while ids := await _next(custodian, org, done.before, after, patient_id):
        if not after:
            await custodian.record(org, "data", 1 if patient_id else of)
        for one in ids:
            moved, failed = await resealing.reseal(database, keys, org, one, done.before, custodian.now())
            done.patients += 1
            done.moved += moved
            done.left_out += failed
            custodian.watch.at(f"data keys: patients of {org}", done.patients - seen, 1 if patient_id else of)
        after = ids[-1]


async def _next(custodian: Custodian, org: str, before: int, after: str, patient_id: str | None) -> list[str]:
    """The next patients; of one alone just that one, where it is in this organisation and has such keys."""
    database = custodian.store.database
    if patient_id is None:
        return await resealing.older(database, org, before, after)
    return [patient_id] if not after and await resealing.is_older(database, org, before, patient_id) else []
