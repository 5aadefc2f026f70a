"""The table of pairs of records that may be about one person, and what people said of them.

No value of a patient stands here: ids, codes and keyed digests. `tables` collects it.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Index, LargeBinary, Table, Text

from crm.store.columns import Key, metadata, named, org

__all__ = ["possible_duplicate"]

possible_duplicate = Table(
    "possible_duplicate",
    metadata,
    org(),
    Column("first_id", Key, primary_key=True),
    Column("second_id", Key, primary_key=True),
    Column("id", Key, nullable=False),
    Column("found_at", BigInteger, nullable=False),
    Column("verdict", Text),
    Column("identities", LargeBinary),
    Column("reviewer_issuer", Text),
    Column("reviewer", Text),
    Column("reviewed_at", BigInteger),
    named(),
    ForeignKeyConstraint(["org", "first_id"], ["patient.org", "patient.id"], name="fk_possible_duplicate_first"),
    ForeignKeyConstraint(["org", "second_id"], ["patient.org", "patient.id"], name="fk_possible_duplicate_second"),
    CheckConstraint("first_id < second_id", name="order"),
    CheckConstraint("verdict IN ('NOT_DUPLICATE', 'UNDECIDED')", name="verdict"),
    CheckConstraint(
        "(verdict IS NULL) = (identities IS NULL) AND (verdict IS NULL) = (reviewer IS NULL) AND "
        "(verdict IS NULL) = (reviewer_issuer IS NULL) AND (verdict IS NULL) = (reviewed_at IS NULL)",
        name="reviewed",
    ),
    Index("ix_possible_duplicate_id", "org", "id", unique=True),
    Index("ix_possible_duplicate_second", "org", "second_id"),
)
"""Each pair once, the smaller id first; how alike the two are is told anew whenever somebody asks. `identities` is a
keyed digest of both identities as they were when somebody said `verdict`: once one changes, that counts no more."""
