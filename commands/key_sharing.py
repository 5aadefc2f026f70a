"""A part of the key ring for a replica that may have only some uses: the octets of the others are not in its file."""

from collections.abc import Collection
from pathlib import Path

import orjson

from commands.folders import private_folder
from crm.crypto import key_file
from crm.crypto.keyring import VERSION, KeyRing
from crm.errors import Unsafe
from crm.settings import KeyProvider, Settings

__all__ = ["share"]

_ALWAYS = "log"


def share(settings: Settings, uses: Collection[str], output: Path) -> list[str]:
    """Writes a ring with the root keys of `uses` to a new file (mode 0600), and returns lines to print.

    The key for the access log is always among them: who cannot sign cannot record, and then may not answer. The ring is
    marked as a part, in which no key can be made or destroyed.

    Raises `Unsafe` when the root keys are not in a ring, when the ring lacks a use, or when `output` exists: what was
    given to a replica is never overwritten unseen.
    """
    if settings.key_provider is not KeyProvider.KEYRING:
        raise Unsafe(
            f"the root keys are with {settings.key_provider.value}: what a replica may use is decided there, by the "
            "policy of its token or account (docs/partial-replicas.md)"
        )
    given = {*uses, _ALWAYS}
    held = KeyRing.load(settings.keyring).uses()
    if lacking := sorted(given - held):
        raise Unsafe(f"the key ring {settings.keyring} has no root key for {', '.join(lacking)}")
    whole = orjson.loads(key_file.read(settings.keyring))
    part = {"version": VERSION, "part": True, "keys": [key for key in whole["keys"] if key["use"] in given]}
    private_folder(output.parent)
    key_file.create(output, orjson.dumps(part, option=orjson.OPT_INDENT_2))
    return [
        f"created {output} with the root keys for {', '.join(dict.fromkeys([*uses, _ALWAYS]))}",
        f"left out: {', '.join(sorted(held - given)) or 'none'}",
    ]
