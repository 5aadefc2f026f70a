"""The key ring's first day."""

from commands.folders import private_folder
from crm.crypto.keyring import KeyRing
from crm.settings import Settings


def init(settings: Settings) -> list[str]:
    """Creates the key ring and returns lines to print.

    Raises `Unsafe` when there is one already: a second one would not open what the first has sealed.
    """
    private_folder(settings.keyring.parent)
    KeyRing.create(settings.keyring)
    return [
        f"created {settings.keyring}",
        "back it up apart from the database: without it nothing can be read, and with both everything can",
    ]
