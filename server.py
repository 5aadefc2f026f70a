"""Heed's command line and composition root: reads arguments and settings, and hands both to `commands`. Nobody imports it."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from auth.development import DevelopmentIssuer
from auth.purposes import Purpose
from auth.roles import Role
from commands import demo as demonstration
from commands import interchange, keys, migrating, pages, serving
from commands.durations import seconds
from commands.house import DEFAULT_ORG
from crm.crypto.process import harden_process
from crm.errors import CrmError, Unsafe
from crm.settings import Environment, load
from schema.sdl import print_sdl

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys_app = typer.Typer(no_args_is_help=True, help="The life of the keys.")
import_app = typer.Typer(no_args_is_help=True, help="Take patients in.")
export_app = typer.Typer(no_args_is_help=True, help="Give patients out.")
policy_app = typer.Typer(no_args_is_help=True, help="Who may do what.")
app.add_typer(keys_app, name="keys")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(policy_app, name="policy")

Org = Annotated[str, typer.Option(help="The organisation whose records are meant.")]


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    data: Annotated[Path, typer.Option(help="The folder for everything the demo makes.")] = Path("var/demo"),
    patients: Annotated[int, typer.Option(min=1, max=100_000, help="How many sample patients.")] = 500,
    reset: Annotated[bool, typer.Option("--reset", help="Start from nothing: removes what an earlier demo made.")] = False,
) -> None:
    """Everything embedded: keys, SQLite, sample patients, a development issuer, and the server."""
    demonstration.run(data, port=port, patients=patients, reset=reset)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
) -> None:
    """The server with the environment's settings; refuses to start on an unsafe one."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    serving.serve(load(**given), workers=workers)


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision; safe to repeat and to run from two places at once."""
    print(*migrating.migrate(load()), sep="\n")


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="The role.")],
    subject: Annotated[str, typer.Option(help="Who: the `sub` claim.")],
    org: Org = DEFAULT_ORG,
    purpose: Annotated[Purpose | None, typer.Option(help="The purpose of use; by default the role's usual one.")] = None,
    patient: Annotated[str | None, typer.Option(help="The patient's id, for roles patient and proxy.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is good for: 90s, 15m, 8h.")] = "15m",
) -> None:
    """A signed token of the development issuer; refused in production."""
    settings = load()
    if settings.env is Environment.PRODUCTION:
        raise Unsafe("the development issuer signs no tokens in production; use your identity provider")
    issuer = DevelopmentIssuer(settings.data_dir)
    print(issuer.sign(role, subject, org=org, purpose=purpose, patient=patient, ttl=seconds(ttl)))


@keys_app.command("init")
def keys_init() -> None:
    """Create the key ring."""
    print(*keys.init(load()), sep="\n")


@import_app.command("fhir")
def import_fhir(
    files: Annotated[list[Path], typer.Argument(help="NDJSON, Bundle or single resource, each plain or gzipped.")],
    org: Org = DEFAULT_ORG,
    source: Annotated[str, typer.Option(help="The name of the system the records come from.")] = "fhir",
    rejects: Annotated[Path | None, typer.Option(help="Where to keep what was rejected, with the reasons.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on the last line.")] = False,
) -> None:
    """Take in FHIR R4 Patients; repeating it changes nothing, and a killed run goes on where it stopped."""
    summary = _run(interchange.import_fhir(load(), files, org=org, source=source, rejects=rejects, quiet=as_json))
    print(json.dumps(summary.as_json()) if as_json else "\n".join(interchange.summary_lines(summary)))
    if summary.rejected:
        raise typer.Exit(3)


@export_app.command("fhir")
def export_fhir(
    output: Annotated[Path | None, typer.Option(help="The file to write (mode 0600); standard output without it.")] = None,
    org: Org = DEFAULT_ORG,
) -> None:
    """Give out all patients of an organisation as FHIR R4 NDJSON."""
    count = _run(interchange.export_fhir(load(), output, org=org))
    print(f"exported {count} patients", file=sys.stderr)


@export_app.command("patient")
def export_patient(
    patient_id: Annotated[str, typer.Argument(help="The patient's id.")],
    org: Org = DEFAULT_ORG,
) -> None:
    """One person's whole record as JSON, for a subject access request (GDPR Art. 15, 45 CFR 164.524)."""
    print(_run(interchange.export_patient(load(), patient_id, org=org)))


@policy_app.command("show")
def policy_show(role: Annotated[Role | None, typer.Option(help="Only this role.")] = None) -> None:
    """The allow-list: role, purpose of use, and what each may do, as tab-separated lines."""
    print(*pages.policy_lines(role), sep="\n")


@app.command()
def schema() -> None:
    """The GraphQL schema as SDL."""
    print(print_sdl(), end="")


@app.command()
def docs(check: Annotated[bool, typer.Option("--check", help="Only say which pages are stale.")] = False) -> None:
    """Write the generated pages of docs/, or check them."""
    stale = pages.stale()
    if check and stale:
        raise Unsafe(f"stale: {', '.join(path.name for path in stale)}; run `make generate` and review the difference")
    if not check:
        pages.write()


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def main() -> None:
    """Runs one command. A refusal is one line on standard error and exit status 1; no traceback, and no value in it."""
    harden_process()
    try:
        app()
    except CrmError as refusal:
        print(f"heed: {refusal or type(refusal).__name__}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
