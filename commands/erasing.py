"""Erasing on the command line, as a privacy officer: a patient, the receipts again, and all of it after a restore."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict

import orjson

from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import house
from crm.catalogue import KeyClass
from crm.domain.erasure import ErasureReason
from crm.services.erasures import Erasures, Receipt
from crm.settings import Settings

__all__ = ["erase", "receipts", "replay", "show"]


async def erase(
    settings: Settings, patient_id: str, *, org: str, classes: Collection[KeyClass], reason: ErasureReason
) -> list[Receipt]:
    """Erases the patient, or only `classes` where any are named. Raises what `Erasures.erase` raises."""
    async with house(settings) as it:
        erasures: Erasures = it.services.erasures
        chosen = frozenset(classes) or None
        actor, request = system_actor(org, Role.PRIVACY_OFFICER), command_request("erase")
        return [await erasures.erase(actor, request, patient_id, None, chosen, reason, any_version=True)]


async def receipts(settings: Settings, patient_id: str, *, org: str) -> list[Receipt]:
    """The receipts of everything that was erased of the patient, as of now. Raises `NotFound`."""
    async with house(settings) as it:
        erasures: Erasures = it.services.erasures
        actor, request = system_actor(org, Role.PRIVACY_OFFICER), command_request("erase")
        return await erasures.receipts(actor, request, patient_id)


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


def show(found: Sequence[Receipt], *, as_json: bool) -> None:
    """Prints receipts as signed notes, or as JSON objects, one a line.

    The key that verifies the notes goes to standard error, so that a note sent to a file is the note and nothing else.
    """
    if as_json:
        for receipt in found:
            print(orjson.dumps(asdict(receipt), option=orjson.OPT_SORT_KEYS).decode())
        return
    print("\n".join(receipt.note for receipt in found).rstrip("\n") or "nothing of this patient was erased", flush=True)
    if found and found[-1].verifier_key:
        print(f"verifier key, to be kept apart from the note: {found[-1].verifier_key}", file=sys.stderr)
