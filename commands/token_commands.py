"""The commands `tokens …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import json
import re
from typing import Annotated

import typer

from commands.running import run

_LONGEST = 255

tokens_app = typer.Typer(
    help="Tokens that are not believed any more.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


def _claim(text: str | None) -> str | None:
    """What a claim of a token may be, as the verifier has it."""
    if text is not None and not (0 < len(text) <= _LONGEST and text.isprintable()):
        raise typer.BadParameter(f"up to {_LONGEST} printable characters, as they stand in the token")
    return text


def _organisation(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise typer.BadParameter("an organisation is up to 64 letters, digits and any of . _ -")
    return name


@tokens_app.command("revoke")
def revoke(
    token_id: Annotated[
        str | None, typer.Option("--token-id", metavar="JTI", callback=_claim, help="One token: its `jti` claim.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(callback=_claim, help="All tokens of this `sub` that were issued until now.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(callback=_claim, help="Who issued them: the `iss` claim; needed where there are more.")
    ] = None,
    org: Annotated[
        str, typer.Option(callback=_organisation, help="The organisation in whose access log this is recorded.")
    ] = "demo",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Believe a token, or a subject's tokens, no more.

    Every running process refuses them within half a second, and ends the streams that were opened with them. A subject
    may come again with a token that is issued more than 30 seconds later: see that the identity provider issues none.
    """
    from commands import revoking
    from crm.settings import load

    if (token_id is None) == (subject is None):
        raise typer.BadParameter("state either --token-id or --subject")
    entry = run(revoking.revoke(load(), issuer=issuer, token_id=token_id, subject=subject, org=org))
    print(json.dumps(revoking.revocation_json(entry)) if as_json else "\n".join(revoking.lines([entry])))


@tokens_app.command("list")
def show(
    expired: Annotated[bool, typer.Option("--expired", help="Also what has expired of itself since.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array instead.")] = False,
) -> None:
    """Show what was revoked.

    Prints when, what, of which issuer, up to which time of issue, and by whom.
    """
    from commands import revoking
    from crm.settings import load

    found = run(revoking.every(load(), expired=expired))
    if as_json:
        print(json.dumps([revoking.revocation_json(each) for each in found]))
    else:
        print("\n".join(revoking.lines(found)) or "nothing is revoked")
