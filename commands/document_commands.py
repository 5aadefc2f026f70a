"""The commands `documents …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from commands.running import run

_JSON = typer.Option("--json", help="Print one JSON object on the last line.")

documents_app = typer.Typer(
    help="The GraphQL documents that clients may send.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _client(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise typer.BadParameter("a client is up to 64 letters, digits and any of . _ -")
    return name


def _digests(names: list[str]) -> list[str]:
    for name in names or []:
        if not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", name):
            raise typer.BadParameter(f"{name[:80]!r} is no SHA-256: `documents list` shows them")
    return names


Client = Annotated[
    str, typer.Argument(metavar="CLIENT", callback=_client, help="The program whose documents are meant.")
]


@documents_app.command("register")
def register(
    client: Client,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="GraphQL documents, or manifests of them.")],
    check: Annotated[bool, typer.Option("--check", help="Register nothing, only say what was found.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Put a client's documents on the list of trusted ones.

    Prints what each would cost, and which roles would be refused. Exit status 3: some could never be executed.
    """
    from commands import documents
    from crm.settings import load

    summary = run(documents.register(load(), client, files, check=check))
    print(json.dumps(summary.as_json()) if as_json else "\n".join(documents.examined_lines(summary)))
    if summary.refused:
        raise typer.Exit(3)


@documents_app.command("list")
def show(
    client: Annotated[str | None, typer.Option(callback=_client, help="Only this client.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Those that are retired, too.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show the list."""
    from commands import documents
    from crm.settings import load

    found = run(documents.every(load(), client or "", retired=retired))
    for line in [json.dumps([asdict(each) for each in found])] if as_json else documents.registration_lines(found):
        print(line)


@documents_app.command("retire")
def retire(
    client: Client,
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="[SHA256...]", callback=_digests, help="Which; else --all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All documents of the client.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Take documents of a client off the list.

    Running processes stop executing them within HEED_DOCUMENTS_REFRESH seconds.
    """
    from commands import documents
    from crm.settings import load

    if bool(digests) == everything:
        raise typer.BadParameter("name documents by their SHA-256, or state --all")
    count = run(documents.retire(load(), client, digests or []))
    print(json.dumps({"client": client, "retired": count}) if as_json else f"{count} of {client} are retired")
