"""`audit export`: events of the log as FHIR, OCSF or CSV, and a proof for each event of a patient."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.folders import new_file
from commands.house import house
from commands.progress import progress
from crm.errors import Unsafe
from crm.interchange.audit_event import audit_event_of
from crm.interchange.log_lines import COLUMNS, api_activity_of, csv_line, csv_row_of
from crm.services.log_exports import Exported, LogExport, LogExports
from crm.settings import Settings

__all__ = ["Format", "export"]

Line = Callable[[Exported, str], bytes]
"""An event of the log of a name as one line, with its end."""


class Format(StrEnum):
    """FHIR R4 AuditEvents in NDJSON, OCSF API Activity in JSON lines, or a table for spreadsheets."""

    FHIR = "fhir"
    OCSF = "ocsf"
    CSV = "csv"


def _json(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


_LINES: Mapping[Format, Line] = {
    Format.FHIR: lambda each, origin: _json(
        audit_event_of(each.content, each.seq, each.leaf, origin=origin, patient_id=each.patient_id)
    ),
    Format.OCSF: lambda each, origin: _json(api_activity_of(each.content, each.seq, origin=origin)),
    Format.CSV: lambda each, _origin: csv_line(csv_row_of(each.content, each.seq, each.patient_id)),
}


async def export(
    settings: Settings,
    output: Path,
    *,
    org: str,
    kind: Format,
    question: Mapping[str, Any],
    proofs: Path | None = None,
    quiet: bool = False,
) -> int:
    """Writes the events that `question` (see `crm.services.log_questions`) finds, newest first; returns how many.

    `proofs` is a new folder for a `.tlog-proof` of each. Raises `Unsafe`, `NotFound`, `Invalid`.
    """
    async with house(settings) as it:
        actor = system_actor(org, Role.COMPLIANCE_OFFICER, Purpose.HCOMPL)
        exports = LogExports(it.services.store, actor, command_request(f"audit-export-{kind}"))
        with new_file(output) as stream, progress(f"export {org}", None, quiet=quiet) as advance:
            if proofs is not None:
                _made(proofs)
            begun = await exports.begin(question)
            if kind is Format.CSV:
                stream.write(csv_line(list(COLUMNS)))
            done = 0
            async for page in begun.pages():
                for each in page:
                    stream.write(_LINES[kind](each, begun.origin))
                    if proofs is not None:
                        await _prove(begun, each, proofs)
                done += len(page)
                advance(done, begun.events)
            return done


def _made(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise Unsafe(f"cannot make the folder {folder}: {error.strerror}") from None


async def _prove(begun: LogExport, each: Exported, folder: Path) -> None:
    (folder / f"{each.seq}.tlog-proof").write_text(await begun.proof(each), encoding="utf-8")
