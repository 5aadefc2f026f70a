"""A house with a log that tests fill by hand, and the bundles that are made of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auth.roles import Role
from crm.crypto.cosignature import Cosigner
from crm.services.bundles import Bundle, Bundles
from crm.services.request import Request
from crm.store import checkpoints, proofs
from tests.house import House, actor, house
from tests.logs import event, signer
from tests.offline import VERIFIER

__all__ = ["COSIGNER", "KEY", "ORG", "Archive", "archive"]

ORG = "north"
KEY = signer(ORG, 1).verifier_key
COSIGNER = Cosigner("witness.test/w1", bytes(range(1, 33)))
WITNESSED_AT = 1_795_287_303


@dataclass(frozen=True)
class Archive:
    """A house with a log that is filled by hand, and bundled."""

    it: House
    folder: Path

    async def log(self, count: int, start: int = 0, **facts: Any) -> None:
        """So many more events."""
        await self.it.log.append(ORG, [event(n, **facts) for n in range(start, start + count)])

    async def cosign(self, cosigners: Sequence[Cosigner] = (COSIGNER,)) -> int:
        """Publishes the checkpoint as these witnesses cosigned it; returns its size."""
        head = await proofs.head(self.it.database, ORG)
        assert head is not None
        assert head.note is not None
        text = head.note.partition("\n\n")[0] + "\n"
        lines = "".join(cosigner.cosign(text, WITNESSED_AT) for cosigner in cosigners)
        at = WITNESSED_AT * 1_000_000
        await checkpoints.publish(self.it.database, ORG, head.epoch, head.size, head.note, at)
        await checkpoints.cosign(self.it.database, ORG, head.epoch, head.size, lines, at)
        return head.size

    def bundles(self, role: Role = Role.COMPLIANCE_OFFICER) -> Bundles:
        """The maker of bundles, on behalf of an actor of this role."""
        return Bundles(
            self.it.services.store,
            actor(role, org=ORG),
            Request("r-1", "command:audit-bundle"),
            signer,
            witnesses=[COSIGNER.verifier_key],
            verifier=VERIFIER,
        )

    async def bundle(self, name: str = "bundle") -> Bundle:
        """A bundle of the log as it is, in a folder of this name."""
        return await self.bundles().write(self.folder / name)


@asynccontextmanager
async def archive(url: str, folder: Path) -> AsyncIterator[Archive]:
    """A house on the database at `url`; bundles and keys in `folder`."""
    async with house(url, folder, deadline=30.0) as it:
        yield Archive(it, folder)
