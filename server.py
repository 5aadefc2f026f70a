"""Heed's command line: reads arguments and settings, and hands both to `commands`. Nobody imports it.

Each command imports what it needs when it runs: `--help` and `token` need not wait for the database's libraries.
"""

import json
import os
import signal
import sys

if __name__ == "__main__" and callable(signal.getsignal(signal.SIGINT)):  # until `main` sees to it; it may be ignored
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from auth.purposes import Purpose
from auth.roles import Role
from commands.audit_commands import audit_app
from commands.document_commands import documents_app
from commands.durations import seconds
from commands.key_commands import keys_app
from commands.running import agreed, run
from commands.token_commands import tokens_app
from commands.webhook_commands import webhooks_app
from crm.domain.erasure import ErasureReason
from crm.interchange.need_codes import Form

_PLAIN: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "rich_markup_mode": None}

app = typer.Typer(help="Heed: patient preferences and profiles.", pretty_exceptions_enable=False, **_PLAIN)
import_app = typer.Typer(help="Take patients in.", **_PLAIN)
export_app = typer.Typer(help="Give patients out.", **_PLAIN)
policy_app = typer.Typer(help="Who may do what.", **_PLAIN)
app.add_typer(keys_app, name="keys")
app.add_typer(audit_app, name="audit")
app.add_typer(documents_app, name="documents")
app.add_typer(tokens_app, name="tokens")
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(policy_app, name="policy")


def _organisation(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):  # what the claim `org` of a token may be
        raise typer.BadParameter("an organisation is up to 64 letters, digits and any of . _ -")
    return name


def _duration(text: str) -> str:
    try:
        seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Org = Annotated[str, typer.Option(callback=_organisation, help="The organisation whose records are meant.")]


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on.")] = 8000,
    data: Annotated[Path, typer.Option(help="The folder for everything the demo makes.")] = Path("var/demo"),
    patients: Annotated[int, typer.Option(min=1, max=100_000, help="How many sample patients.")] = 500,
    reset: Annotated[
        bool, typer.Option("--reset", help="Start from nothing: removes what an earlier demo made.")
    ] = False,
) -> None:
    """Try Heed out: sample patients, keys, tokens, server.

    Everything is embedded and made in one folder: keys, a SQLite database, patients, a development issuer.
    """
    from commands import demo as demonstration

    demonstration.run(data, port=port, patients=patients, reset=reset)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="The port to listen on.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="How many processes; more than one needs PostgreSQL.")
    ] = 1,
) -> None:
    """Serve with the settings of the environment.

    Refuses to start on an unsafe one, with one line that says which and what to do.
    """
    from commands import logs
    from crm.settings import load

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load(**given)
    logs.configure(settings.log_level)
    if workers == 1:
        from commands import serving

        serving.serve(settings, opened=_serving)
    else:
        from commands import workers as crew

        crew.serve(settings, workers, _serving)


def _serving(address: str) -> None:
    print(f"Heed serves {address}/graphql", file=sys.stderr, flush=True)


@app.command()
def duplicates(
    org: Org = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="The numbers as one JSON object.")] = False,
) -> None:
    """Find records that may be about one person.

    New pairs are put on the list that `possibleDuplicates` shows; nobody is merged.
    """
    from commands import interchange
    from crm.settings import load

    swept = run(interchange.find_duplicates(load(), org=org))
    if as_json:
        print(json.dumps({"records": swept.records, "found": swept.found, "crowded": swept.crowded}))
    else:
        print(f"{swept.found} new pairs among {swept.records} records; {swept.crowded} crowds passed over")


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision.

    Safe to repeat, and to run from two places at once.
    """
    from commands import migrating
    from crm.settings import load

    print(*migrating.migrate(load()), sep="\n")


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="The role.")],
    subject: Annotated[str, typer.Option(help="Who: the `sub` claim.")],
    org: Org = "demo",
    purpose: Annotated[
        Purpose | None, typer.Option(help="The purpose of use; by default the role's usual one.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="The patient's id, for roles patient and proxy; for staff that of their own record."),
    ] = None,
    family_name: Annotated[
        str | None, typer.Option(help="The family name of a member of staff, to see `same_surname`.")
    ] = None,
    ttl: Annotated[
        str, typer.Option(callback=_duration, help="How long it is good for: 90s, 15m, 8h, at most 1d.")
    ] = "15m",
) -> None:
    """Sign a token for trying things out.

    The development issuer signs it, which no server believes in production.
    """
    from commands import tokens
    from crm.settings import load

    print(
        tokens.signed(
            load(), role, subject, org=org, purpose=purpose, patient=patient, family_name=family_name, ttl=seconds(ttl)
        )
    )


@import_app.command("fhir")
def import_fhir(
    files: Annotated[list[Path], typer.Argument(help="NDJSON, Bundle or single resource, each plain or gzipped.")],
    org: Org = "demo",
    source: Annotated[str, typer.Option(help="The name of the system the records come from.")] = "fhir",
    rejects: Annotated[Path | None, typer.Option(help="Where to keep what was rejected, with the reasons.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object on the last line.")
    ] = False,
) -> None:
    """Take in FHIR R4 Patients.

    Repeating it changes nothing, and a killed run goes on where it stopped. Exit status 3: some were rejected.
    """
    from commands import interchange
    from crm.settings import load

    summary = run(interchange.import_fhir(load(), files, org=org, source=source, rejects=rejects, quiet=as_json))
    print(json.dumps(summary.as_json()) if as_json else "\n".join(interchange.summary_lines(summary)))
    if summary.rejected:
        raise typer.Exit(3)


@export_app.command("fhir")
def export_fhir(
    output: Annotated[
        Path | None, typer.Option(help="The file to write (mode 0600); standard output without it.")
    ] = None,
    org: Org = "demo",
) -> None:
    """Give out all patients of an organisation.

    As FHIR R4 Patients in NDJSON.
    """
    from commands import interchange
    from crm.settings import load

    count = run(interchange.export_fhir(load(), output, org=org))
    print(f"exported {count} patients", file=sys.stderr)


@export_app.command("needs")
def export_needs(
    form: Annotated[
        Form, typer.Option("--as", help="As reasonable adjustments of the NHS, or as US accommodations.")
    ] = Form.NHS,
    output: Annotated[
        Path | None, typer.Option(help="The file to write (mode 0600); standard output without it.")
    ] = None,
    org: Org = "demo",
) -> None:
    """Give out the access needs of all patients of an organisation.

    As FHIR R4 Flags in NDJSON; nothing else of a record is opened.
    """
    from commands import needs_out
    from crm.settings import load

    count = run(needs_out.export_needs(load(), form, output, org=org))
    print(f"exported {count} needs", file=sys.stderr)


@export_app.command("patient")
def export_patient(
    patient_id: Annotated[str, typer.Argument(metavar="ID", help="The patient's id.")],
    org: Org = "demo",
) -> None:
    """Give out one person's whole record.

    As JSON, for a subject access request (GDPR Art. 15, 45 CFR 164.524).
    """
    from commands import interchange
    from crm.settings import load

    print(run(interchange.export_patient(load(), patient_id, org=org)))


@policy_app.command("show")
def policy_show(role: Annotated[Role | None, typer.Option(help="Only this role.")] = None) -> None:
    """Print the allow-list.

    Role, purpose of use, and what each may do, as tab-separated lines.
    """
    from commands import pages

    print(*pages.policy_lines(role), sep="\n")


def _key_classes(names: list[str]) -> list[str]:
    if names:
        from crm.catalogue import KeyClass

        if unknown := set(names) - set(KeyClass):
            raise typer.BadParameter(f"{unknown.pop()!r} is not one of {', '.join(KeyClass)}")
    return names


@app.command()
def erase(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The patient's id.")],
    org: Org = "demo",
    classes: Annotated[
        list[str],
        typer.Option(
            "--class",
            callback=_key_classes,
            help="Only this class: identity, contact, preference or sensitive. May be repeated.",
        ),
    ] = [],  # noqa: B006 - typer makes a new list of it
    reason: Annotated[ErasureReason, typer.Option(help="Why.")] = ErasureReason.PATIENT_REQUEST,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Erase nothing; print the receipts of what was erased, as of now.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each receipt as a JSON object on one line.")] = False,
) -> None:
    """Erase a patient, or some classes of one, for good.

    Prints the signed receipt, which says from when on this holds, also in copies made before.
    """
    from commands import erasing
    from crm.catalogue import KeyClass
    from crm.settings import load

    if receipt:
        erasing.show(run(erasing.receipts(load(), patient, org=org)), as_json=as_json)
        return
    if not yes and not agreed(f"Erase {', '.join(classes) or 'everything'} of {patient} in {org}, for good?"):
        raise typer.Exit(1)
    chosen = [KeyClass(name) for name in classes]
    erasing.show(run(erasing.erase(load(), patient, org=org, classes=chosen, reason=reason)), as_json=as_json)


@app.command("replay-erasures")
def replay_erasures(
    as_json: Annotated[bool, typer.Option("--json", help="Print the number as a JSON object.")] = False,
) -> None:
    """Erase again what a restored database has forgotten.

    After a database was put back from an old copy, the service refuses to start until this ran. Safe to repeat.
    """
    from commands import erasing
    from crm.settings import load

    count = run(erasing.replay(load()))
    print(json.dumps({"replayed": count}) if as_json else f"{count} erasures were done again")


@app.command()
def schema(
    federation: Annotated[
        bool, typer.Option("--federation", help="As a router composes it: a subgraph's SDL.")
    ] = False,
) -> None:
    """Print the GraphQL schema."""
    from schema.federation import subgraph_sdl
    from schema.sdl import build_schema, print_sdl

    print(subgraph_sdl(build_schema()) if federation else print_sdl(), end="")


@app.command()
def docs(check: Annotated[bool, typer.Option("--check", help="Only say which pages are stale.")] = False) -> None:
    """Write or check the generated pages of docs/."""
    from commands import pages
    from crm.errors import Unsafe

    if not check:
        pages.write()
    elif stale := pages.stale():
        raise Unsafe(f"stale: {', '.join(path.name for path in stale)}; run `make generate` and review the difference")


def main() -> None:
    """Runs one command. A refusal is one line on standard error and exit status 1; no traceback, and no value in it."""
    from crm.crypto.process import harden_process

    harden_process()
    try:
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as failure:  # noqa: BLE001 - whatever ails it, its words may quote a value
        from commands.refusals import sentence

        print(f"heed: {sentence(failure)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
