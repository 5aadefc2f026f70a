"""`keys verify`: every organisation, or one, and what it says of them. The looking is `crm.services.verification`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import house
from commands.logs import plain
from commands.progress import progress
from crm.catalogue import KeyClass
from crm.errors import Unsafe
from crm.services.refusals import NOBODY
from crm.services.verification import Verified, verify
from crm.settings import Settings
from crm.store import organisations
from crm.store.faults import MEANINGS

__all__ = ["Report", "check", "lines"]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all organisations that were asked for."""

    organisations: Sequence[Verified]

    @property
    def sound(self) -> bool:
        """Whether nothing was found to be wrong in what could be checked."""
        return not any(each.counts for each in self.organisations)

    def as_json(self) -> dict[str, Any]:
        """The whole report: codes, ids and counts, never a value."""
        return {"sound": self.sound, "organisations": [_as_json(each) for each in self.organisations]}


async def check(settings: Settings, *, org: str | None, sample: int | None, quiet: bool) -> Report:
    """Verifies one organisation, or with None all: everything in them, or `sample` patients of each.

    Raises `Unsafe` for an organisation of which nothing was ever recorded.
    """
    async with house(settings) as it:
        known = [name for name in await organisations.every(it.database) if name != NOBODY]
        if org is not None and org not in known:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        found = []
        for name in known if org is None else [org]:
            actor = system_actor(name, Role.OPERATOR, Purpose.HSYSADMIN)
            with progress(f"verify {name}", None, quiet=quiet) as advance:
                found.append(
                    await verify(it.services.store, it.keystore, actor, command_request("verify"), sample, advance)
                )
    return Report(found)


def lines(report: Report) -> list[str]:
    """The report for a person: each organisation, what could not be checked, and each finding with its meaning."""
    return [line for each in report.organisations for line in _of(each)] or ["nothing is stored yet"]


def _of(found: Verified) -> list[str]:
    rate = found.records / found.seconds if found.seconds else 0.0
    sum_ = f"{found.records} of {found.patients} records in {found.seconds:.1f} s ({rate:.0f} per second)"
    result = [f"{found.org}: {sum_}, " + (f"{found.counts.total()} findings" if found.counts else "all well")]
    result += [f"{found.org}: not checked: no key: {name}" for name in found.unchecked]
    if found.unknown_cells:
        result.append(f"{found.org}: {found.unknown_cells} cells of fields that only a newer release knows")
    for each in found.findings:
        where = " ".join(filter(None, (each.patient_id, each.part)))
        times = f" ({each.count} times)" if each.count > 1 else ""
        result.append(plain(f"{found.org}: {where}: {each.fault.value}{times}: {MEANINGS[each.fault]}"))
    if unnamed := found.counts - sum((Counter({each.fault: each.count}) for each in found.findings), Counter()):
        result += [f"{found.org}: {count} more: {fault.value}" for fault, count in sorted(unnamed.items())]
    return result


def _as_json(found: Verified) -> dict[str, Any]:
    return {
        "org": found.org,
        "patients": found.patients,
        "records": found.records,
        "seconds": round(found.seconds, 3),
        "counts": {fault.value: count for fault, count in sorted(found.counts.items())},
        "findings": [
            {"patient": each.patient_id, "part": each.part, "code": each.fault.value, "count": each.count}
            for each in found.findings
        ],
        "not_checked": list(found.unchecked),
        "unknown_cells": found.unknown_cells,
        "epochs": [
            {"class": name, "epoch": no, "keys": count}
            for (name, no), count in sorted(found.epochs.items())
            if name in set(KeyClass)
        ],
    }
