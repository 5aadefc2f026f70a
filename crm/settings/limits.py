"""The settings of what one GraphQL document may hold, and one call in it. Counts nothing."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["LimitSettings"]


class LimitSettings(BaseSettings):
    """The settings of limits; `Settings` is one of these."""

    limit_source: int = Field(default=50_000, ge=1_000, le=1_000_000, description="Characters of a GraphQL document.")
    limit_comments: int = Field(default=250, ge=0, le=10_000, description="Comments in it.")
    limit_tokens: int = Field(default=1_000, ge=50, le=20_000, description="Lexical tokens of a GraphQL document.")
    limit_operations: int = Field(default=10, ge=1, le=100, description="Operations.")
    limit_depth: int = Field(default=10, ge=3, le=50, description="Levels of nested fields, through fragments.")
    limit_fields: int = Field(
        default=400, ge=10, le=5_000, description="Fields, those of a fragment counted wherever it is spread."
    )
    limit_aliases: int = Field(default=15, ge=0, le=500, description="Aliases, through fragments.")
    limit_directives: int = Field(default=20, ge=0, le=100, description="Directives, through fragments.")
    limit_records: int = Field(
        default=1_000, ge=1, le=100_000, description="Records that an operation may read or change: its cost."
    )
    limit_batch: int = Field(default=1_000, ge=1, le=1_000, description="Ids in one call, such as `patients(ids)`.")
    limit_page: int = Field(default=100, ge=1, le=1_000, description="Edges in one page of a connection.")

    def limits(self) -> dict[str, int]:
        """What one document may hold, by the name of each limit: `{"tokens": 1000, ...}`."""
        return {name.removeprefix("limit_"): value for name, value in self if name.startswith("limit_")}
