"""The commands `webhooks …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
import re
from typing import Annotated

import typer

from auth.purposes import Purpose
from auth.roles import Role
from commands.durations import seconds
from commands.running import run
from crm.domain.webhooks import Kind

webhooks_app = typer.Typer(
    help="Endpoints that are told of changes.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


def _organisation(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise typer.BadParameter("an organisation is up to 64 letters, digits and any of . _ -")
    return name


def _overlap(text: str) -> str:
    try:
        if text != "0":
            seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Org = Annotated[str, typer.Option(callback=_organisation, help="The organisation whose endpoints are meant.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The endpoint: `webhooks list` shows them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


@webhooks_app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the receiver listens: https://host/path.")],
    role: Annotated[Role, typer.Option(help="In which role it follows changes: its policy filters what it is told.")],
    purpose: Annotated[Purpose, typer.Option(help="For which purpose of use.")],
    org: Org = "demo",
    kind: Annotated[list[Kind], typer.Option(help="Only messages of this type. May be repeated.")] = [],  # noqa: B006 - typer makes a new list of it
    field: Annotated[list[str], typer.Option(help="Only changes of this field. May be repeated.")] = [],  # noqa: B006 - as above
    as_json: Json = False,
) -> None:
    """Tell an endpoint of what changes from now on.

    Prints its id, and the secret that verifies its messages: it is shown this once.
    """
    from commands import endpoints
    from crm.settings import load

    name, secret = run(endpoints.add(load(), url, org=org, kinds=kind, fields=field, role=role, purpose=purpose))
    print(json.dumps({"id": name, "secret": secret}) if as_json else f"{name}\n{secret}")


@webhooks_app.command("list")
def show(org: Org = "demo", as_json: Json = False) -> None:
    """Show the endpoints: state, host, role and purpose, and what waits for each.

    Of addresses only the host is shown, of secrets how many sign now.
    """
    from commands import endpoints
    from crm.settings import load

    found = run(endpoints.every(load(), org=org))
    if as_json:
        print(json.dumps([endpoints.shown_json(each) for each in found]))
    else:
        print("\n".join(map(endpoints.line, found)) or "no endpoint is registered")


@webhooks_app.command("disable")
def disable(endpoint: Id, org: Org = "demo") -> None:
    """Send nothing more; what changes meanwhile waits in the feed."""
    _turn(endpoint, org, enabled=False)


@webhooks_app.command("enable")
def enable(endpoint: Id, org: Org = "demo") -> None:
    """Go on where it stopped."""
    _turn(endpoint, org, enabled=True)


def _turn(endpoint: str, org: str, *, enabled: bool) -> None:
    from commands import endpoints
    from crm.settings import load

    done, state = run(endpoints.turn(load(), endpoint, org=org, enabled=enabled)), "enabled" if enabled else "disabled"
    print(f"{endpoint} is {state}" if done else f"{endpoint} was {state} already")


@webhooks_app.command("rotate-secret")
def rotate_secret(
    endpoint: Id,
    org: Org = "demo",
    overlap: Annotated[
        str, typer.Option(callback=_overlap, help="How long the old secret signs beside it: 1h, 1d; 0 for not at all.")
    ] = "1d",
) -> None:
    """Give an endpoint a new secret, which is shown this once."""
    from commands import endpoints
    from crm.settings import load

    span = 0 if overlap == "0" else seconds(overlap)
    print(run(endpoints.rotate(load(), endpoint, org=org, overlap=span)))


@webhooks_app.command("dead")
def dead(
    endpoint: Id,
    org: Org = "demo",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Show messages that were given up, and how their last attempt ended."""
    from commands import endpoints
    from crm.settings import load

    found = run(endpoints.dead(load(), endpoint, org=org, limit=limit))
    if as_json:
        print(json.dumps([endpoints.dead_json(endpoint, each) for each in found]))
    else:
        print("\n".join(endpoints.dead_lines(endpoint, found)) or "no message was given up")


@webhooks_app.command("replay")
def replay(
    endpoint: Id,
    org: Org = "demo",
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help="All that came after the message with this `data.position`.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="The messages that were given up.")] = False,
    message: Annotated[str | None, typer.Option(metavar="ID", help="Of those only this one.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Nothing: forget what waits, and go on with what comes.")] = False,
) -> None:
    """Send messages again, under the ids that they had."""
    from commands import endpoints
    from crm.settings import load

    if (after is not None) + (dead or message is not None) + now != 1:
        raise typer.BadParameter("state one of --after, --dead (or --message) and --now")
    if dead or message is not None:
        count = run(endpoints.revive(load(), endpoint, org=org, message=message))
        print(f"{count} messages wait again")
    else:
        run(endpoints.replay(load(), endpoint, org=org, after=after))
        print(f"{endpoint} goes on from {'now' if now else after}")


@webhooks_app.command("test")
def try_out(endpoint: Id, org: Org = "demo", as_json: Json = False) -> None:
    """Send one message that tells of nobody.

    Exit status 3: it was not taken.
    """
    from commands import endpoints
    from crm.settings import load

    trial = run(endpoints.try_out(load(), endpoint, org=org))
    result = {"answer": trial.answer, "delivered": trial.delivered}
    print(json.dumps(result) if as_json else f"{'taken' if trial.delivered else 'not taken'}: {trial.answer}")
    if not trial.delivered:
        raise typer.Exit(3)
