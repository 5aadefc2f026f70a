"""The table of tokens that are not believed any more before they expire. `tables` collects it."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text

from crm.store.columns import Key, metadata

__all__ = ["revoked_token"]

revoked_token = Table(
    "revoked_token",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Key, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("token_id", Text),
    Column("subject", Text),
    Column("issued_until", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Column("revoked_by", Text, nullable=False),
    CheckConstraint("(token_id IS NULL) <> (subject IS NULL)", name="one_of_two"),
    Index("ix_revoked_token_id", "id", unique=True),
)
"""What was revoked: one token of an issuer by its `jti`, or all of a subject that were issued up to `issued_until`.

Numbered from 1 without gaps, in the order in which they were committed: who knows everything up to a number asks for
what is behind it. `id` names the entry in the access log; from `ends_at` on every such token has expired of itself.
Belongs to no organisation, as issuers do not. Rows are never changed or removed."""
