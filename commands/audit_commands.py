"""The commands `audit …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

from pathlib import Path
from typing import Annotated

import typer

audit_app = typer.Typer(
    help="The log: checkpoints, verification, evidence for outsiders.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


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
