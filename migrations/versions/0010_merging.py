"""Merging: pairs of records that may be one person, what people said of them, and what was merged."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
