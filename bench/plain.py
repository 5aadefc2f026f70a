"""The peers' database: the same people in ordinary tables, in the clear, and the checks that both say the same.

Owns the tables and how they are filled from what Heed answers. The columns are what suits the peers best: a display
name that is ready, no translation of codes, an index for each join.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg

__all__ = ["SCHEMA", "fill"]

SCHEMA = """
CREATE TABLE patient (
    id uuid PRIMARY KEY, version int NOT NULL, restricted boolean, display_name text, preferred_name text,
    birth_date text, pronouns text, interpreter_needed text, time_zone text, communication_style text
);
CREATE TABLE contact_point (
    patient_id uuid NOT NULL REFERENCES patient, place int NOT NULL, id text NOT NULL, system text NOT NULL,
    value text NOT NULL, "use" text, rank int, capabilities text[], verified boolean, PRIMARY KEY (patient_id, place)
);
CREATE TABLE channel_preference (
    patient_id uuid NOT NULL REFERENCES patient, place int NOT NULL, purpose text NOT NULL, channels text[] NOT NULL,
    PRIMARY KEY (patient_id, place)
);
CREATE FUNCTION patients_by_id(ids uuid[]) RETURNS SETOF patient LANGUAGE sql STABLE AS $$
    SELECT p.* FROM unnest(ids) WITH ORDINALITY AS wanted (id, place) JOIN patient p USING (id) ORDER BY wanted.place
$$;
"""
"""`patients_by_id` is for PostGraphile, which serves a list in the order of a function's answer."""

_SCALARS = (
    "id", "version", "restricted", "displayName", "preferredName", "birthDate", "pronouns", "interpreterNeeded",
    "timeZone", "communicationStyle",
)  # fmt: skip
_POINT = ("id", "system", "value", "use", "rank", "capabilities", "verified")
_PREFERENCE = ("purpose", "channels")


async def fill(url: str, patients: Iterator[Sequence[dict[str, Any]]]) -> None:
    """Creates and fills the tables at `url` with patients as Heed answers them."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SCHEMA)
        for people in patients:
            rows = [(UUID(each["id"]), *(each[name] for name in _SCALARS[1:])) for each in people]
            await connection.copy_records_to_table("patient", records=rows)
            for table, name, columns in (
                ("contact_point", "contactPoints", _POINT),
                ("channel_preference", "channelPreferences", _PREFERENCE),
            ):
                await connection.copy_records_to_table(table, records=list(_children(people, name, columns)))
        await connection.execute("VACUUM ANALYZE patient, contact_point, channel_preference")
    finally:
        await connection.close()


def _children(people: Sequence[dict[str, Any]], name: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for person in people:
        for place, child in enumerate(person[name] or ()):
            yield UUID(person["id"]), place, *(child[column] for column in columns)
