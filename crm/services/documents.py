"""Trusted documents: what a deployment's clients may have executed by name. Owns registering, retiring and looking up.

The texts are those of programs and hold no patient data. What a document may show to whom is the policy's business, at
each request anew; being on this list gives nobody a right.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from crm.errors import Tampered
from crm.store import trusted_documents
from crm.store.database import Database
from crm.store.trusted_documents import Registration

__all__ = ["Registration", "TrustedDocuments", "digest"]


def digest(text: str) -> str:
    """The SHA-256 of a document's text in UTF-8, in lower-case hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class TrustedDocuments:
    """The list, and what this process remembers of it.

    A text is remembered for `refresh` seconds after the database was asked for it, so a document that another process
    retires serves here that much longer; one that is not known is looked for each time, so a new one serves at once.
    At most `count` documents with `size` characters are remembered, the least recently used forgotten first.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], int],
        *,
        refresh: float = 10.0,
        count: int = 1_000,
        size: int = 4_000_000,
    ) -> None:
        self._database = database
        self._clock = clock
        self._refresh = round(refresh * 1_000_000)
        self._count = count
        self._size = size
        self._used = 0
        self._known: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    async def text(self, sha256: str) -> str | None:
        """The registered text with this digest, None where there is none or it is retired.

        Raises StoreUnavailable, and Tampered where the stored text has another digest.
        """
        known = self._known.get(sha256)
        if known is not None and 0 <= self._clock() - known[1] < self._refresh:
            self._known.move_to_end(sha256)
            return known[0]
        asked_at = self._clock()
        text = await trusted_documents.text_of(self._database, sha256)
        if text is not None and digest(text) != sha256:
            raise Tampered("trusted_document")
        self._remember(sha256, text, asked_at)
        return text

    def _remember(self, sha256: str, text: str | None, asked_at: int) -> None:
        before = self._known.pop(sha256, None)
        self._used -= len(before[0]) if before else 0
        if text is None or not self._refresh:
            return
        # The same object as before: what is keyed by the text need not be hashed again.
        text = before[0] if before else text
        self._known[sha256] = (text, asked_at)
        self._used += len(text)
        while len(self._known) > self._count or self._used > self._size:
            _, (forgotten, _) = self._known.popitem(last=False)
            self._used -= len(forgotten)

    async def register(self, client: str, texts: Mapping[str, str], by: str) -> int:
        """Registers documents (names of their operations by text) for a client, all or none; how many are new.

        The caller has checked that they fit the schema. Raises StoreUnavailable.
        """
        now = self._clock()
        entries = [Registration(client, digest(text), name, text, now, by) for text, name in texts.items()]
        return await trusted_documents.add(self._database, entries)

    async def retire(self, client: str, digests: Sequence[str], by: str) -> int:
        """Takes documents of a client off the list; how many were on it. Raises StoreUnavailable."""
        return await trusted_documents.retire(self._database, client, digests, self._clock(), by)

    async def every(self, client: str = "") -> list[Registration]:
        """All documents, or those of one client, retired ones among them. Raises StoreUnavailable."""
        return await trusted_documents.every(self._database, client)
