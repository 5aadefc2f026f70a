"""`audit bundle`: the log of an organisation as a folder that outsiders check. Writing it is `crm.services.bundles`."""

from pathlib import Path
from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import House, house
from commands.progress import progress
from crm.services.bundles import Bundle, Bundles
from crm.settings import Settings
from crm.store.log import signer_of

__all__ = ["VERIFIER", "as_json", "bundle", "bundles", "lines"]

VERIFIER = Path(__file__).resolve().parents[1] / "examples" / "audit-verify.py"
"""The program that goes along with every bundle."""


_UNSEEN = "without any line of a witness that HEED_WITNESSES names"


def bundles(it: House, org: str, command: str) -> Bundles:
    """The maker of bundles for one run of a command."""
    return Bundles(
        it.services.store,
        system_actor(org, Role.COMPLIANCE_OFFICER, Purpose.HCOMPL),
        command_request(command),
        signer_of(it.services.store.keys, it.settings.log_origin),
        witnesses=[witness.key for witness in it.settings.witnesses],
        verifier=VERIFIER,
    )


async def bundle(settings: Settings, folder: Path, *, org: str, quiet: bool) -> Bundle:
    """Writes the bundle into `folder`. Raises `Unsafe`."""
    async with house(settings) as it:
        with progress(f"bundle {org}", None, quiet=quiet) as advance:
            return await bundles(it, org, "audit-bundle").write(folder, advance)


def lines(made: Bundle) -> list[str]:
    """What was made, for a person, and how to check it."""
    events = f"{made.size - made.first} events" + (f" from {made.first} on" if made.first else "")
    seen = f"{made.witnessed} of them seen by {len(made.witnesses)} witnesses" if made.witnesses else _UNSEEN
    return [
        f"{made.folder}: {events} of {made.origin}, {seen}",
        f"check: python3 {made.folder / VERIFIER.name} bundle {made.folder} --key {made.key}",
    ]


def as_json(made: Bundle) -> dict[str, Any]:
    """The same for a program."""
    return {
        "folder": str(made.folder),
        "log": made.origin,
        "first": made.first,
        "size": made.size,
        "key": made.key,
        "witnessed": made.witnessed,
        "witnesses": list(made.witnesses),
    }
