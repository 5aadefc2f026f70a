"""From what a request sends or names to a document that may be executed. Owns the rules of naming, and parses nothing.

A document is named by the SHA-256 of its text: `documentId` (GraphQL over HTTP, appendix on persisted documents), or
`extensions.persistedQuery` (Apollo). docs/decisions/0041 says which requests are answered in which mode.
"""

import sys

from crm.services.documents import digest
from schema.context import TrustedDocuments
from schema.documents import Document, Documents
from schema.errors import Code, Refused
from schema.recent import Recent
from schema.settings import Settings

__all__ = ["NotTrusted", "Source"]

_MISNAMED = "The document has another SHA-256 than the one that names it."
_TRUSTED_ONLY = "Only registered documents are executed here."


class NotTrusted(Refused):
    """A document that is not on the list was asked for where no other is executed. It may have named patients."""


class Source:
    """Where documents come from: the request itself, the list of trusted documents, and what Apollo's clients sent.

    No transport has another way to a document.
    """

    def __init__(self, documents: Documents, registered: TrustedDocuments, settings: Settings) -> None:
        self._documents = documents
        self._registered = registered
        self._trusted_only = settings.trusted_documents
        # Texts by SHA-256. Each process has its own; a client that finds another process sends its text again.
        sent = Recent[str, str](settings.documents, settings.documents_size)
        self._sent = sent if settings.persisted_queries else None

    async def find(self, text: str, named: str | None, *, automatic: bool = False) -> Document:
        """The validated document of `text`, or of the SHA-256 `named` where there is no text, or of both.

        `automatic` as in `Parameters`. Raises what `Documents.get` raises; Refused: VALIDATION_FAILED where text and
        name disagree (NotTrusted where only the list counts), PERSISTED_QUERY_NOT_FOUND, PERSISTED_QUERY_NOT_SUPPORTED;
        NotTrusted, StoreUnavailable, Tampered.
        """
        if named is None and not self._trusted_only:
            return self._documents.get(text)
        sha256 = digest(text) if text or named is None else named
        if named is not None and sha256 != named:
            field = "extensions.persistedQuery.sha256Hash" if automatic else "documentId"
            kind = NotTrusted if self._trusted_only else Refused
            raise kind(Code.VALIDATION_FAILED, _MISNAMED, field=field)
        if text and not self._trusted_only:
            return self._taken(sha256, text, automatic=automatic)
        known = None if self._sent is None else self._sent.get(sha256)
        known = known or await self._registered.text(sha256)
        if known is None:
            raise self._unknown(sent=named is None or bool(text), automatic=automatic)
        return self._documents.get(known)

    def _taken(self, sha256: str, text: str, *, automatic: bool) -> Document:
        """The document of a text that comes with its name; where Apollo's protocol is on, it is remembered."""
        document = self._documents.get(text)
        if automatic and self._sent is not None:
            self._sent.put(sha256, text, sys.getsizeof(text))
        return document

    def _unknown(self, *, sent: bool, automatic: bool) -> Refused:
        """What is raised for a name that nobody knows, or a text that is `sent` and not on the list.

        Apollo's clients stop naming documents for good when they hear NOT_SUPPORTED, so where there is a list they hear
        NOT_FOUND.
        """
        if self._trusted_only:
            return NotTrusted(Code.FORBIDDEN, _TRUSTED_ONLY) if sent else NotTrusted(Code.PERSISTED_QUERY_NOT_FOUND)
        if automatic and self._sent is None:
            return Refused(Code.PERSISTED_QUERY_NOT_SUPPORTED)
        return Refused(Code.PERSISTED_QUERY_NOT_FOUND)
