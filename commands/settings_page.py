"""The page that lists the settings, generated from them."""

from crm.settings import PREFIX, Settings

__all__ = ["settings_page"]


def settings_page() -> str:
    """The text of `docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "<!-- Generated from crm/settings/variables.py by `make generate`; do not edit. -->",
        "",
        "Environment variables; options on the command line come first. An empty variable counts as unset. A variable",
        "that begins with `HEED_` and is not listed here stops the start: it is a typing error more often than not.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    # Pydantic names inherited fields first; here they come last.
    for name in sorted(Settings.model_fields, key=lambda each: each not in Settings.__annotations__):
        field = Settings.model_fields[name]
        extra = field.json_schema_extra
        shown = extra["shown"] if isinstance(extra, dict) else f"`{_plain(field.default)}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {shown} | {_cell(field.description or '')} |")
    lines += [
        "",
        "## Refused in production",
        "",
        "With `HEED_ENV=production` the server does not start, and says which setting is to blame, when",
        "",
        "- `HEED_ISSUERS` is empty, names the development issuer, or fetches keys over plain `http://`;",
        "- `HEED_LOG_LEVEL` is `debug`;",
        "- a database URL leads to another machine without TLS (`sslmode=require`, `verify-ca` or `verify-full`);",
        "- `HEED_KEY_PROVIDER` is `env`, or a `HEED_ROOT_KEY_…` is set;",
        "- `HEED_VAULT_ADDR`, `HEED_KMS_ENDPOINT` or a witness leads to another machine over plain `http://`;",
        "- `HEED_PERSISTED_QUERIES` is `true`;",
        "- `HEED_CODE_SENDER` is `log`, or is `smtp` to another machine with `HEED_SMTP_TLS=none`.",
        "",
        "SQLite is allowed in production: one process on one machine with an encrypted disk is a sound way to run a",
        "small practice. Several processes or machines need PostgreSQL. Listening on every address (`0.0.0.0`) is",
        "allowed too: inside a container it is the only way; put TLS in front.",
    ]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
