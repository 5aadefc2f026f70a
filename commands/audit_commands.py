"""The commands `audit …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

audit_app = typer.Typer(
    help="The log: checkpoints, verification, evidence for outsiders.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@audit_app.command("checkpoint")
def checkpoint(
    org: Annotated[str | None, typer.Option(help="Only the log of this organisation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each log, on a line.")] = False,
) -> None:
    """Print what the logs say of themselves now.

    The newest signed checkpoint of each, the key that verifies it, and how much of it witnesses have seen.
    """
    from commands import renewing
    from commands.running import run
    from crm.settings import load

    found = run(renewing.newest(load(), org))
    print("\n".join(map(json.dumps, found) if as_json else renewing.lines(found)))


@audit_app.command("renew")
def renew(
    org: Annotated[str, typer.Option(help="The organisation whose log is meant.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where nobody outside knows of anything that was lost.")
    ] = False,
) -> None:
    """Begin a log anew, after the database was put back to an older state.

    The new log has a new name, and says first what was lost; auditors and witnesses have to be told. What it holds
    stays in it.
    """
    from commands import renewing
    from commands.running import agreed, run
    from crm.settings import load

    if not yes and not agreed(f"Begin the log of {org} anew? Everybody who watches it will notice."):
        raise typer.Exit(1)
    done = run(renewing.renew(load(), org, anyway=anyway))
    print(f"the log of {org} goes on as {done.origin}, and says that {done.lost.origin} had {done.lost.size} events")
    print(f"verifier key: {done.verifier_key}")


@audit_app.command("witness")
def witness(
    state: Annotated[Path, typer.Option(help="The folder for its key and for what it has seen.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it answers.")] = "127.0.0.1:8100",
    log: Annotated[
        list[str], typer.Option(metavar="VKEY", help="The verifier key of a log that it knows. May be repeated.")
    ] = [],  # noqa: B006 - typer makes a new list of it
    name: Annotated[str | None, typer.Option(help="Its name, at the first run; heed-witness without it.")] = None,
    show_key: Annotated[bool, typer.Option("--show-key", help="Print its verifier key, and end.")] = False,
) -> None:
    """Watch logs from outside, and cosign what only grew.

    For a machine of the compliance team: needs no database, and no settings but these.
    """
    from commands import logs, witnessing
    from crm.settings import LogLevel

    logs.configure(LogLevel.INFO)
    if show_key:
        print(witnessing.key(state, name))
    else:
        witnessing.serve(listen, state, log, name)


@audit_app.command("verify")
def verify(
    org: Annotated[list[str], typer.Option(help="Only this organisation; by default all. May be repeated.")] = [],  # noqa: B006 - typer makes a new list of it
    checkpoint: Annotated[
        list[Path], typer.Option(metavar="FILE", help="A signed checkpoint that was kept outside. May be repeated.")
    ] = [],  # noqa: B006 - typer makes a new list of it
    witness: Annotated[
        list[str],
        typer.Option(metavar="URL=VKEY", help="A witness to ask, beside those of HEED_WITNESSES. May be repeated."),
    ] = [],  # noqa: B006 - typer makes a new list of it
    key: Annotated[
        list[str],
        typer.Option(metavar="VKEY", help="The log's verifier key, for whoever has no key ring. May be repeated."),
    ] = [],  # noqa: B006 - typer makes a new list of it
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")] = False,
) -> None:
    """Recompute the log from its leaves, and name the first number that is bad.

    Also runs where the service refuses to start. Exit status 4: something is wrong. Says what it cannot exclude.
    """
    from commands import log_verifying
    from commands.running import run
    from crm.settings import load

    asked = log_verifying.Asked(org, checkpoint, witness, key)
    found = run(log_verifying.check(load(), asked, quiet=as_json))
    print(json.dumps(found.as_json()) if as_json else "\n".join(log_verifying.lines(found)))
    if not found.sound:
        raise typer.Exit(4)


@audit_app.command("recount")
def recount(org: Annotated[str, typer.Option(help="The organisation whose log is meant.")]) -> None:
    """Count the sums of each person's days anew, from the events that are kept.

    For where `audit verify` says derived_wrong: accessAnomalies rests on these sums.
    """
    from commands import recounting
    from commands.running import run
    from crm.settings import load

    run(recounting.recount(load(), org))
    print(f"{org}: the sums of all days are counted anew")


@audit_app.command("bundle")
def bundle(
    out: Annotated[Path, typer.Option(help="The folder to write; one that is empty or not there yet.")],
    org: Annotated[str, typer.Option(help="The organisation whose log is meant.")] = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")] = False,
) -> None:
    """Give the whole log out, with all that a stranger needs to check it.

    A folder in the form of C2SP tlog-tiles, with the program audit-verify.py. Recorded as one event.
    """
    from commands import bundling
    from commands.running import run
    from crm.settings import load

    made = run(bundling.bundle(load(), out, org=org, quiet=as_json))
    print(json.dumps(bundling.as_json(made)) if as_json else "\n".join(bundling.lines(made)))


def _day(text: str | None) -> str | None:
    if text is not None:
        from commands.pruning import micros

        try:
            micros(text)
        except ValueError:
            raise typer.BadParameter("a day is written as 2020-01-31") from None
    return text


@audit_app.command("prune")
def prune(
    org: Annotated[str, typer.Option(help="The organisation whose log is meant.")],
    bundle: Annotated[Path, typer.Option(help="The folder that the log is given out to before; not there yet.")],
    before: Annotated[
        str | None,
        typer.Option(callback=_day, metavar="DAY", help="Only events before this day; else all that may go."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take events away whose time is over (HEED_AUDIT_DAYS).

    Gives the log out, has the bundle checked, says so in the log, and then takes away whole tiles of events. Needs a
    login that owns the tables. Refused while a legal hold is on a patient with events among them.
    """
    from commands import pruning
    from commands.running import run
    from crm.settings import load

    since = None if before is None else pruning.micros(before)
    print(*run(pruning.prune(load(), bundle, org=org, before=since, yes=yes)), sep="\n")


def _time(text: str | None) -> str | None:
    if text is not None:
        try:
            zone = datetime.fromisoformat(text).tzinfo
        except ValueError:
            zone = None
        if zone is None:
            raise typer.BadParameter("a time is written as 2026-11-21T18:55:03Z")
    return text


@audit_app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="The file to write (mode 0600); never an existing one.")],
    kind: Annotated[str, typer.Option("--format", help="fhir, ocsf or csv.")],
    org: Annotated[str, typer.Option(help="The organisation whose log is meant.")] = "demo",
    since: Annotated[
        str | None, typer.Option("--from", callback=_time, help="From this time on, as 2026-11-21T18:55:03Z.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", callback=_time, help="Up to this time, exclusive.")] = None,
    patient: Annotated[str | None, typer.Option(help="Only events about this patient, by id.")] = None,
    proofs: Annotated[Path | None, typer.Option(help="A new folder for a proof of each event; with --patient.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")] = False,
) -> None:
    """Give events of the log out, newest first.

    As FHIR R4 AuditEvents (IHE BALP), OCSF API Activity or CSV. Recorded as one event.
    """
    from commands import log_exporting
    from commands.running import run
    from crm.settings import load

    if kind not in set(log_exporting.Format):
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(log_exporting.Format)}", param_hint="--format")
    if proofs is not None and patient is None:
        raise typer.BadParameter("proofs are given with the events of one patient", param_hint="--proofs")
    if since and to and datetime.fromisoformat(since) >= datetime.fromisoformat(to):
        raise typer.BadParameter("lies not before --to", param_hint="--from")
    question = {"from_": since, "to": to, "patient_id": patient}
    chosen = log_exporting.Format(kind)
    done = run(log_exporting.export(load(), out, org=org, kind=chosen, question=question, proofs=proofs, quiet=as_json))
    print(json.dumps({"events": done, "file": str(out)}) if as_json else f"{out}: {done} events")
