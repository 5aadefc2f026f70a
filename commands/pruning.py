"""`audit prune`: gives the oldest events out, has the bundle checked as a stranger would, and takes them away."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.bundling import VERIFIER, bundles
from commands.house import House, clock, house
from commands.progress import progress
from commands.running import agreed
from crm.errors import LegalHold, Unsafe
from crm.services.bundles import Bundle
from crm.services.retention import Plan, Retention
from crm.settings import Settings

__all__ = ["micros", "prune"]


def micros(day: str) -> int:
    """Microseconds since 1970 of a day's beginning in UTC, such as 2020-01-31, or of a time. Raises ValueError."""
    time = datetime.fromisoformat(day)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)


async def prune(settings: Settings, folder: Path, *, org: str, before: int | None, yes: bool) -> list[str]:
    """What was done, in lines. Raises Unsafe with what to do, LegalHold; nothing is gone then."""
    async with house(settings) as it:
        actor = system_actor(org, Role.COMPLIANCE_OFFICER, Purpose.HCOMPL)
        retention = Retention(
            it.services.store, settings.database_url, actor, command_request("audit-prune"), days=settings.audit_days
        )
        plan = await _planned(retention, before)
        if not plan.events:
            return [f"{org}: no event is old enough to be pruned"]
        if not yes and not agreed(f"Take events {plan.start} to {plan.minimum - 1} of {org} away, for good?"):
            return [f"{org}: nothing was done"]
        made = await _given_out(it, plan, folder)
        await retention.announce(plan)
        with progress(f"prune {org}", plan.events) as advance:
            await retention.carry_out(plan, advance)
    return [
        f"{org}: events {plan.start} to {plan.minimum - 1} are in {made.folder}, checked, and gone from the log",
        f"{org}: keep that folder: it is all that is left of them",
    ]


async def _planned(retention: Retention, before: int | None) -> Plan:
    try:
        return await retention.plan(clock(), before)
    except LegalHold:
        raise Unsafe(
            "a patient under a legal hold has events among these: nothing is pruned until the hold is lifted"
        ) from None


async def _given_out(it: House, plan: Plan, folder: Path) -> Bundle:
    """The bundle, once the program that strangers use has found nothing wrong with it."""
    with progress(f"bundle {plan.org}", None) as advance:
        made = await bundles(it, plan.org, "audit-prune").write(folder, advance)
    if made.first > plan.start or made.size < plan.minimum:
        raise Unsafe(f"{folder} does not have the events {plan.start} to {plan.minimum - 1}: nothing was pruned")
    words = [sys.executable, "-I", str(VERIFIER), "bundle", str(made.folder), "--key", made.key]
    ended = await asyncio.to_thread(subprocess.run, words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise Unsafe(f"the bundle in {folder} does not verify: nothing was pruned; run `audit verify` to see why")
    return made
