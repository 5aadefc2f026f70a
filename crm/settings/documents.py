"""The settings of documents: whether every document is executed or only trusted ones, and Apollo's protocol."""

from enum import StrEnum

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["DocumentSettings", "DocumentsAllowed"]


class DocumentsAllowed(StrEnum):
    """Which GraphQL documents are executed."""

    ANY = "any"
    TRUSTED = "trusted"


class DocumentSettings(BaseSettings):
    """The settings of documents; `Settings` is one of these."""

    documents: DocumentsAllowed = Field(
        default=DocumentsAllowed.ANY,
        description="Which GraphQL documents are executed: `any` that fits schema, limits and policy, or only those "
        "`trusted` ones that `server.py documents register` put on the list, for introspection too "
        "(`docs/trusted-documents.md`).",
    )
    documents_refresh: float = Field(
        default=10.0,
        ge=0,
        le=3_600,
        description="Seconds that a process remembers a trusted document before it asks the database again whether it "
        "was retired, 3,600 at most; 0 asks at each request. New ones serve at once.",
    )
    persisted_queries: bool = Field(
        default=False,
        description="Whether a client may have any text remembered under its SHA-256 by Apollo's protocol of "
        "automatically persisted queries. For development: neither production nor `HEED_DOCUMENTS=trusted` bears it.",
    )
