"""The table of merges: which record was merged into which, when, by whom and why, and when that was undone.

No value of a patient stands here: ids, versions and codes. `tables` collects it.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Index, Table, Text

from crm.store.columns import Key, metadata, named, org

__all__ = ["record_merge"]

_PATIENT = ["patient.org", "patient.id"]

record_merge = Table(
    "record_merge",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("survivor_id", Key, nullable=False),
    Column("survivor_version", BigInteger, nullable=False),
    Column("duplicate_id", Key, nullable=False),
    Column("duplicate_version", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("merged_by", Text, nullable=False),
    Column("merged_at", BigInteger, nullable=False),
    Column("choices", Text, nullable=False),
    Column("holds", Text, nullable=False),
    Column("undone_by", Text),
    Column("undone_at", BigInteger),
    Column("undone_version", BigInteger),
    Column("to_review", Text),
    named(),
    ForeignKeyConstraint(
        ["org", "survivor_id"], ["patient.org", "patient.id"], name="fk_record_merge_survivor_patient"
    ),
    ForeignKeyConstraint(
        ["org", "duplicate_id"], ["patient.org", "patient.id"], name="fk_record_merge_duplicate_patient"
    ),
    CheckConstraint("survivor_id <> duplicate_id", name="two"),
    CheckConstraint("(undone_at IS NULL) = (undone_by IS NULL)", name="undone"),
    CheckConstraint("(undone_at IS NULL) = (undone_version IS NULL)", name="parted"),
    Index("ix_record_merge_duplicate", "org", "duplicate_id"),
    Index("ix_record_merge_survivor", "org", "survivor_id"),
)
"""Each merge with the versions that it made of both records. One that was undone stays as a fact.

`undone_version` is the first one of the survivor that was its own again. `choices` are the fields of which both records
had a word, and whose was taken; `to_review` those that had changed since when the merge was undone; `holds` the ids of
the legal holds that went along. All three JSON, of catalogue names, codes and ids."""
