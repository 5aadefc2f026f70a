"""Bringing the databases to the newest revision."""

from pathlib import Path

from commands.folders import private_folder
from crm.settings import Settings
from crm.store import migrations


def migrate(settings: Settings) -> list[str]:
    """Upgrades the records' database, and the key store's where it is another one. Returns lines to print."""
    urls = dict.fromkeys([settings.database_url, settings.keystore_url])
    for url in urls:
        if url.startswith("sqlite:///"):
            private_folder(Path(url.removeprefix("sqlite:///")).parent)
        migrations.upgrade(url)
    return [f"the database is at revision {migrations.current(url)}" for url in urls]
