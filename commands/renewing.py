"""`audit checkpoint` and `audit renew`: what a log says of itself now, and how one that lost its past begins anew."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from uuid_utils import uuid7

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import House, clock, house
from crm.audit.checkpoint import Checkpoint, epoch_of, origin_of
from crm.audit.entry import Draft, Entry, draft, number
from crm.audit.event import Act, Event, rfc3339
from crm.audit.tree import EMPTY
from crm.errors import Unsafe
from crm.services.believing import believing
from crm.settings import Settings
from crm.store import epochs, organisations, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.checkpoints import Published
from crm.store.log import LogSink, signer_of
from crm.store.proofs import LogHead

__all__ = ["Renewed", "lines", "newest", "renew"]

RENEWED = "RENEWED"


async def newest(settings: Settings, org: str | None) -> list[dict[str, Any]]:
    """The newest signed checkpoint of one log or of all, its verifier key, and which witnesses have seen how much.

    Raises Unsafe for an organisation that has no log.
    """
    async with house(settings, forgetful=True, suspect=True) as it:
        for trouble in it.troubles:
            print(f"heed: {trouble.text}", file=sys.stderr)
        known = await organisations.every(it.database)
        if org is not None and org not in known:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        found = [await _of(it, name) for name in (known if org is None else [org])]
        return [each for each in found if each]


async def _of(it: House, org: str) -> dict[str, Any]:
    head = await proofs.head(it.database, org)
    if head is None or head.note is None:
        return {}
    origin = head.note.partition("\n")[0]
    witnessed = await _witnessed(it, org, head)
    return {
        "org": org,
        "origin": origin,
        "size": head.size,
        "note": head.note,
        "verifier_key": it.services.store.keys.log_signer(origin).verifier_key,
        "witnessed": None
        if witnessed is None
        else {
            "size": witnessed.size,
            "at": rfc3339(witnessed.witnessed_at or 0),
            "note": witnessed.note + witnessed.cosignatures,
        },
    }


async def _witnessed(it: House, org: str, head: LogHead) -> Published | None:
    """The newest checkpoint that a witness of the settings cosigned; without any, one that says it was cosigned."""
    known = believing(
        it.database, org, head, lambda origin: it.services.store.keys.log_signer(origin).verifier_key, lambda _row: None
    )
    witnesses = [witness.key for witness in it.settings.witnesses]
    if known is not None:
        async for row in known.newest(witnessed=True):
            if not witnesses or any(known.cosigned(row, key) for key in witnesses):
                return row
    return None


def lines(found: list[dict[str, Any]]) -> list[str]:
    """The same for a person: the note, and what belongs beside it."""
    result = []
    for each in found:
        seen = each["witnessed"]
        words = f"{seen['size']} events at {seen['at']}" if seen else "nothing yet"
        result += [each["note"], f"verifier key: {each['verifier_key']}", f"seen by witnesses: {words}", ""]
    return result[:-1] or ["nothing is stored yet"]


class Renewed(NamedTuple):
    """What was lost, and the new log's name and verifier key."""

    lost: Checkpoint
    origin: str
    verifier_key: str


async def renew(settings: Settings, org: str, *, anyway: bool = False) -> Renewed:
    """Begins a log anew under a new name, whose first event says what was lost.

    The events that are there stay, as the beginning of the new log. Raises Unsafe for an organisation without a log,
    and, unless `anyway`, for a log that nobody knows to have lost anything.
    """
    async with house(settings, forgetful=True, suspect=True) as it:
        head = await proofs.head(it.database, org)
        if head is None:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        if not anyway and all(trouble.org != org for trouble in it.troubles):
            raise Unsafe(
                f"nothing is known to be wrong with the log of {org}: neither the journal nor a witness knows more of "
                "it; say --anyway after a restore that lost events which nobody outside has seen"
            )
        lost = next((trouble.lost for trouble in it.troubles if trouble.org == org and trouble.lost), None)
        lost = lost or head.checkpoint or Checkpoint(origin_of(settings.log_origin, org, head.epoch), 0, EMPTY)
        await epochs.begin(it.database, org, max(head.epoch, epoch_of(lost.origin)) + 1)
        actor = system_actor(org, Role.OPERATOR, Purpose.HSYSADMIN)
        context = command_request("renew").context(actor)
        event = Event(
            act=Act.BOOT, why=RENEWED, op=context.operation, req=context.request_id, who=context.who, old=lost
        )
        # Past the writer of the house, whose sweeper would also touch the logs of others, which may be in trouble too.
        sink = LogSink(it.database, signer_of(it.services.store.keys, settings.log_origin))
        await sink.commit(org, [draft(event, clock())], partial(_numbered, f"renew/{uuid7()}"))
        head = await proofs.head(it.database, org)
        if head is not None and head.note is not None:
            CheckpointJournal(settings.checkpoint_journal).follow({org: head.note})
        signer = signer_of(it.services.store.keys, settings.log_origin)(org, head.epoch if head else 1)
        return Renewed(lost, signer.name, signer.verifier_key)


def _numbered(node: str, drafts: Sequence[Draft], _now: int) -> list[Entry]:
    return [number(each, node, place) for place, each in enumerate(drafts, start=1)]
