"""Records in and out on the command line, always through the services, as a system actor."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from commands.actors import command_request, system_actor
from commands.folders import new_file
from commands.house import house
from commands.logs import plain
from commands.progress import progress
from crm.errors import Unsafe
from crm.interchange import consent_out, fhir_out, importer
from crm.interchange.importer import Summary
from crm.interchange.rejects import Reject
from crm.services.duplicates import Swept
from crm.services.exports import Exports
from crm.services.imports import Imports
from crm.settings import Settings
from crm.store import organisations


async def import_fhir(
    settings: Settings, files: Sequence[Path], *, org: str, source: str, rejects: Path | None, quiet: bool
) -> Summary:
    """Imports `files` and returns the summary; one line on standard error for each reject.

    Raises `Unsafe` when a file cannot be read, before anything is stored.
    """
    for file in files:
        if not file.is_file() or not os.access(file, os.R_OK):
            raise Unsafe(f"cannot read {file}")
    async with house(settings) as it:
        imports = Imports(it.services.store, system_actor(org), command_request("import"))
        await imports.admit()
        with progress("import", None, quiet=quiet) as advance:
            summary = await importer.run(
                files,
                imports,
                org=org,
                source=source,
                region=settings.default_region,
                rejects=rejects,
                progress=advance,
                on_reject=_say,
            )
        await imports.finished(summary.counts())
        return summary


def _say(file: Path, line: int, reject: Reject) -> None:
    place = f" {reject.path}" if reject.path else ""
    print(plain(f"{file}:{line}: rejected: {reject.reason.value}{place}"), file=sys.stderr)


def summary_lines(summary: Summary) -> list[str]:
    """The summary for a person."""
    counts = ", ".join(f"{name} {count}" for name, count in summary.counts().items())
    rate = summary.records / summary.seconds if summary.seconds else 0.0
    lines = [f"{counts}; {summary.records} records in {summary.seconds:.1f} s ({rate:.0f} per second)"]
    if summary.by_reason:
        reasons = sorted(summary.by_reason.items())
        lines.append("rejected: " + ", ".join(f"{reason} {count}" for reason, count in reasons))
    if summary.not_taken:
        lines.append("not taken: " + ", ".join(f"{path} {count}" for path, count in summary.not_taken.most_common(12)))
    if summary.kept:
        lines.append("a higher source stands: " + ", ".join(f"{name} {count}" for name, count in summary.kept.items()))
    return lines


async def find_duplicates(settings: Settings, *, org: str) -> Swept:
    """Looks through all records of an organisation for pairs that may be about one person, and stores new ones.

    Raises Unsafe for an organisation of which nothing was ever recorded.
    """
    async with house(settings) as it:
        await organisations.require(it.database, org)
        return await it.services.duplicates.sweep(system_actor(org), command_request("duplicates"))


async def export_fhir(settings: Settings, output: Path | None, *, org: str) -> int:
    """Writes every active patient, and their consents, as FHIR R4 NDJSON, each once its event is durable.

    Returns how many patients.
    """
    count = 0
    async with house(settings) as it:
        exports = Exports(it.services.store, system_actor(org), command_request("export"))
        with new_file(output) as stream, progress("export", None, quiet=output is None) as advance:
            async for profiles in exports.patients():
                for profile in profiles:
                    resource = fhir_out.patient_of(profile, org=org, patient_id=profile["id"])
                    stream.write(fhir_out.written(resource))
                for profile in profiles:
                    for consent in consent_out.consents_of(profile, org=org, patient_id=profile["id"]):
                        stream.write(fhir_out.written(consent))
                count += len(profiles)
                advance(count, None)
    return count


async def export_patient(settings: Settings, patient_id: str, *, org: str) -> str:
    """One person's whole record as indented JSON. Raises `NotFound`."""
    async with house(settings) as it:
        exports = Exports(it.services.store, system_actor(org), command_request("export"))
        profile = await exports.patient(patient_id)
    return orjson.dumps(profile, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
