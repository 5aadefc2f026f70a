"""The first root keys."""

from commands.folders import private_folder
from commands.providers import provider
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES
from crm.settings import KeyProvider, Settings


def init(settings: Settings) -> list[str]:
    """Makes the first root keys, of HEED_KEY_USES or of every use, and returns lines to print.

    Raises `Unsafe` when there is a key ring already: a second one would not open what the first has sealed. Elsewhere
    keys that are there already are left as they are.
    """
    uses = settings.key_uses or USES
    if settings.key_provider is KeyProvider.KEYRING:
        private_folder(settings.keyring.parent)
        KeyRing.create(settings.keyring, uses)
        return [
            f"created {settings.keyring}",
            "back it up apart from the database: without it nothing can be read, and with both everything can",
        ]
    chosen = provider(settings)
    chosen.found(uses)
    return [f"{chosen.name} has root keys for {', '.join(uses)}", *(f"  {chosen.roots(use)[-1]}" for use in uses)]
