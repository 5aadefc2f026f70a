"""Access needs out on the command line, in the form of whoever takes them in; always through the services."""

from pathlib import Path

from commands.actors import command_request, system_actor
from commands.folders import new_file
from commands.house import house
from commands.progress import progress
from crm.interchange import fhir_out
from crm.interchange.need_codes import Form
from crm.interchange.need_flags import flags_of
from crm.services.exports import Exports
from crm.settings import Settings

__all__ = ["export_needs"]

_PATHS = frozenset({"accessNeeds", "accessibleFormats"})


async def export_needs(settings: Settings, form: Form, output: Path | None, *, org: str) -> int:
    """Writes a Flag for each need and format of every active patient as NDJSON, each once its event is durable.

    Returns how many Flags.
    """
    count = 0
    async with house(settings) as it:
        exports = Exports(it.services.store, system_actor(org), command_request("export-needs"))
        with new_file(output) as stream, progress("export", None, quiet=output is None) as advance:
            async for profiles in exports.patients(paths=_PATHS):
                for profile in profiles:
                    for flag in flags_of(profile, form, patient_id=profile["id"]):
                        stream.write(fhir_out.written(flag))
                        count += 1
                advance(count, None)
    return count
