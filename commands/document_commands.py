"""The commands `documents …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from commands.running import run

_JSON = typer.Option(
    "--json",
    help="Print one JSON object instead; where the command fails, `error` in it says why, as standard error does.",
)

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


def _digests(names: list[str] | None) -> list[str]:
    """In lower-case hex, as they stand on the list."""
    for name in names or []:
        if not re.fullmatch(r"(sha256:)?[0-9A-Fa-f]{64}", name):
            raise typer.BadParameter(f"{name[:80]!r} is no SHA-256 in hex: `documents list` shows them")
    return [name.removeprefix("sha256:").lower() for name in names or []]


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """A failure goes on to whoever says it in words; a program that reads JSON finds the same words there."""
    try:
        yield
    except Exception as failure:
        if as_json:
            from commands.refusals import sentence

            print(json.dumps({"error": sentence(failure)}))
        raise


Client = Annotated[
    str, typer.Argument(metavar="CLIENT", callback=_client, help="The program whose documents are meant.")
]


@documents_app.command("register")
def register(
    client: Client,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="GraphQL documents (`-` is standard input), or manifests.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Register nothing, only say what was found.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Put a client's documents on the list of trusted ones.

    Prints what each would cost, and which roles would be refused. Exit status 3: some could never be executed.
    """
    from commands import documents
    from crm.settings import load

    with _told(as_json):
        summary = run(documents.register(load(), client, files, check=check))
    print(json.dumps(summary.as_json()) if as_json else "\n".join(documents.examined_lines(summary)))
    if summary.refused:
        raise typer.Exit(3)


@documents_app.command("list")
def show(
    client: Annotated[str | None, typer.Option(callback=_client, help="Only this client.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Those that are retired, too.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON array instead; where the command fails, an object with `error`."),
    ] = False,
) -> None:
    """Show the list.

    Prints client, SHA-256, names of the operations, and who registered or retired it when (UTC); as JSON the text, too.
    """
    from commands import documents
    from crm.settings import load

    with _told(as_json):
        found = run(documents.every(load(), client or "", retired=retired))
    for line in [json.dumps(documents.registration_json(found))] if as_json else documents.registration_lines(found):
        print(line)


@documents_app.command("retire")
def retire(
    client: Client,
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="SHA256", callback=_digests, help="Which; else --all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All documents of the client.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Take documents of a client off the list.

    Running processes stop executing them within HEED_DOCUMENTS_REFRESH seconds, unless another client has the same
    document on the list: then it is said which. Exit status 3: something was named that is not there.
    """
    from commands import documents
    from crm.settings import load

    if bool(digests) == everything:
        raise typer.BadParameter("name documents by their SHA-256, or state --all")
    with _told(as_json):
        found = run(documents.retire(load(), client, digests or []))
    print(json.dumps(found.as_json()) if as_json else "\n".join(documents.retirement_lines(found)))
    if found.missed:
        raise typer.Exit(3)
