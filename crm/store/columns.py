"""What every table is made of: the metadata they belong to, and the columns and rules they share. Defines no table."""

from sqlalchemy import CheckConstraint, Column, MetaData, Text

__all__ = ["Key", "metadata", "named", "org"]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared and ordered by its octets, so that both engines sort alike and an index needs no locale."""


def org() -> Column[str]:
    """The organisation that a row belongs to, first in its key."""
    return Column("org", Key, primary_key=True)


def named() -> CheckConstraint:
    """No row may belong to the scope of nobody (`database.NO_ORG`)."""
    return CheckConstraint("org <> ''", name="org")
