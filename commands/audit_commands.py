"""The commands `audit …`: reads their arguments and hands them to `commands`; each imports only what it needs."""

import typer

audit_app = typer.Typer(
    help="The log: checkpoints, verification, evidence for outsiders.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
