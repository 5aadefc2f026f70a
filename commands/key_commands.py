"""The commands `keys …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.running import agreed, run

_JSON = typer.Option("--json", help="Print one JSON object on the last line.")

keys_app = typer.Typer(help="The life of the keys.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def _classes(names: list[str]) -> list[str]:
    if names:
        from crm.catalogue import KeyClass

        if unknown := set(names) - set(KeyClass):
            raise typer.BadParameter(f"{unknown.pop()!r} is not one of {', '.join(KeyClass)}")
    return names


def _kind(name: str | None) -> str | None:
    if name not in (None, "wrap", "index", "root", "data"):
        raise typer.BadParameter("the kinds of keys are wrap, index, root and data")
    return name


def _time(text: str | None) -> str | None:
    if text is not None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter("a time is written as 2026-11-21T18:55:03Z") from None
    return text


@keys_app.command("init")
def init() -> None:
    """Create the first root keys."""
    from commands import keys
    from crm.settings import load

    print(*keys.init(load()), sep="\n")


@keys_app.command("share")
def share(
    uses: Annotated[list[str], typer.Argument(metavar="USE...", help="What the replica may use its keys for.")],
    output: Annotated[Path, typer.Option(help="The key ring to write (mode 0600); never an existing file.")],
) -> None:
    """Cut a key ring for a replica that may have only some uses.

    Uses: identity, contact, preference, sensitive, index. The key for log, which records what is answered, goes along.
    """
    from commands import key_sharing
    from crm.settings import load

    print(*key_sharing.share(load(), uses, output), sep="\n")


@keys_app.command("status")
def status(as_json: Annotated[bool, _JSON] = False) -> None:
    """Say what is where, and what is due."""
    from commands import key_report, keys
    from crm.settings import load

    found = run(keys.opened_status(load()))
    print(json.dumps(found.as_json()) if as_json else "\n".join(key_report.status_lines(found)))


@keys_app.command("rotate")
def rotate(
    what: Annotated[
        str | None,
        typer.Argument(callback=_kind, metavar="[wrap|index|root|data]", help="Which keys; by default wrap keys."),
    ] = None,
    classes: Annotated[
        list[str],
        typer.Option("--class", callback=_classes, help="Only wrap keys of this class. May be repeated."),
    ] = [],  # noqa: B006 - typer makes a new list of it
    due: Annotated[bool, typer.Option("--due", help="Only what is due; without a kind, whatever is.")] = False,
    patient: Annotated[str | None, typer.Option(help="Only the data keys of this patient.")] = None,
    before: Annotated[
        str | None, typer.Option(callback=_time, help="Only data keys made before this time (RFC 3339).")
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Bring new keys into use while everything runs.

    Finishes a rotation that was interrupted before it begins another. Exit status 3: something could not be moved.
    """
    from commands import key_report, keys
    from crm.catalogue import KeyClass
    from crm.settings import load

    kind = keys.What(what) if what else None
    if (patient or before) and kind is not keys.What.DATA:
        raise typer.BadParameter("--patient and --before are for data keys: keys rotate data")
    if classes and kind not in (keys.What.WRAP, None):
        raise typer.BadParameter("--class is for wrap keys: keys rotate wrap")
    done = run(
        keys.rotate(
            load(),
            kind,
            classes=[KeyClass(name) for name in classes],
            due=due,
            patient=patient,
            before=_micros(before),
            quiet=as_json,
        )
    )
    print(json.dumps(done.as_json()) if as_json else "\n".join(key_report.rotated(done)))
    if not done.whole:
        raise typer.Exit(3)


def _micros(text: str | None) -> int | None:
    """Microseconds since 1970 of a time; one that names no zone is in UTC."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)


@keys_app.command("destroy")
def destroy(
    now: Annotated[
        bool, typer.Option("--now", help="Also keys that copies of the database still need. Those become unreadable.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Destroy keys that nothing needs any more.

    From then on nobody can read what is left of them in old copies. A key that is still needed is refused; exit status
    3 says so.
    """
    from commands import key_report, keys
    from crm.services.key_life.ends import Verdict
    from crm.settings import load

    settings = load()
    found = run(keys.planned(settings, hurry=now))
    ready = [one for one in found if one.verdict is Verdict.READY]
    ended: list[Any] = []
    if ready:
        if not as_json:
            typer.echo("\n".join(key_report.warning(ready, hurry=now)), err=True)
        if not yes and not agreed("Go on?"):
            raise typer.Exit(1)
        ended, found = run(keys.destroy(settings, hurry=now, quiet=as_json))
    lines = key_report.endings(ended, found)
    print(json.dumps(key_report.endings_json(ended, found)) if as_json else "\n".join(lines))
    if any(one.verdict in (Verdict.NEEDED, Verdict.UNFINISHED) for one in found):
        raise typer.Exit(3)


@keys_app.command("verify")
def verify(
    org: Annotated[str | None, typer.Option(help="Only this organisation; by default all.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="So many patients of each organisation; by default everybody.")
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Check that what is stored is what was written.

    Seals, wrapped keys, index values, and versions against the access log. Exit status 4: something is wrong.
    """
    from commands import verifying
    from crm.settings import load

    if org is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", org):
        raise typer.BadParameter("an organisation is up to 64 letters, digits and any of . _ -")
    report = run(verifying.check(load(), org=org, sample=sample, quiet=as_json))
    print(json.dumps(report.as_json()) if as_json else "\n".join(verifying.lines(report)))
    if not report.sound:
        raise typer.Exit(4)
