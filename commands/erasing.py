"""Erasing on the command line, as a privacy officer: a patient, the receipts again, and all of it after a restore."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import orjson

from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import house
from crm.catalogue import KeyClass
from crm.domain.erasure import ErasureReason
from crm.services.erasures import Erasures, Receipt
from crm.settings import Settings

__all__ = ["erase", "printed", "receipts", "replay"]

Told = tuple[list[Receipt], str | None]
"""Receipts, and the key they are verified with where this process may sign."""


async def erase(
    settings: Settings, patient_id: str, *, org: str, classes: Collection[KeyClass], reason: ErasureReason
) -> Told:
    """Erases the patient, or only `classes` where any are named. Raises what `Erasures.erase` raises."""
    async with house(settings) as it:
        erasures: Erasures = it.services.erasures
        chosen = frozenset(classes) or None
        actor, request = system_actor(org, Role.PRIVACY_OFFICER), command_request("erase")
        receipt = await erasures.erase(actor, request, patient_id, None, chosen, reason, any_version=True)
        return [receipt], erasures.verifier_key(org)


async def receipts(settings: Settings, patient_id: str, *, org: str) -> Told:
    """The receipts of everything that was erased of the patient, as of now. Raises `NotFound`."""
    async with house(settings) as it:
        erasures: Erasures = it.services.erasures
        actor, request = system_actor(org, Role.PRIVACY_OFFICER), command_request("erase")
        return await erasures.receipts(actor, request, patient_id), erasures.verifier_key(org)


async def replay(settings: Settings) -> int:
    """Does again what a database that was put back has forgotten, in every organisation; how many erasures that were.

    A run that was killed may simply be run again. Raises `Unsafe` where a copy of the ledger cannot be believed.
    """
    count = 0
    async with house(settings, forgetful=True) as it:
        erasures: Erasures = it.services.erasures
        request = command_request("replay-erasures")
        for org, chain in sorted((await erasures.missing()).items()):
            await erasures.replay(system_actor(org, Role.PRIVACY_OFFICER), request, chain)
            count += len(chain)
    return count


def printed(told: Told, *, as_json: bool) -> str:
    """Receipts as signed notes, or as JSON objects with the verifier key, one a line."""
    found, verifier_key = told
    if not as_json:
        return "\n".join(receipt.note for receipt in found).rstrip("\n") or "nothing of this patient was erased"
    objects: list[dict[str, Any]] = [{**asdict(receipt), "verifier_key": verifier_key} for receipt in found]
    return "\n".join(orjson.dumps(each, option=orjson.OPT_SORT_KEYS).decode() for each in objects)
