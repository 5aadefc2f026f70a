"""The catalogue's promises: what is stored stays readable, and every field has its place in policy, paths and pages."""

import json
from pathlib import Path

from auth.policy import GRANTS, Group
from commands import pages
from crm.catalogue import BY_NAME, BY_PATH, CLASSES, FIELDS, INDEXES

FROZEN = Path(__file__).parent / "vectors/catalogue.json"


def test_stored_names_and_numbers_never_change() -> None:
    """Every field and index ever released keeps its number, name, class, codec and width; new ones are added."""
    frozen = json.loads(FROZEN.read_text("utf-8"))
    fields = {
        row.name: [row.number, row.key_class and row.key_class.value, int(row.codec)] for row in FIELDS if row.key_class
    }
    indexes = {index.name: [index.code, index.bits] for index in INDEXES}
    assert {name: fields.get(name) for name in frozen["fields"]} == frozen["fields"]
    assert {name: indexes.get(name) for name in frozen["indexes"]} == frozen["indexes"]


def test_numbers_names_and_paths_are_unique() -> None:
    """No two fields share a number, a name or a public path, and no two indexes a code."""
    paths = [path for row in FIELDS for path in row.paths]
    assert len({row.number for row in FIELDS}) == len(FIELDS) == len(BY_NAME)
    assert len(set(paths)) == len(paths) == len(BY_PATH)
    assert len({index.code for index in INDEXES}) == len(INDEXES)


def test_every_group_has_fields_and_readers() -> None:
    """A group without fields is dead; a field that nobody may read is a mistake."""
    readable = {group for grant in GRANTS for group in grant.read}
    assert {row.group for row in FIELDS} == set(Group) == readable


def test_a_group_lives_in_one_class() -> None:
    """Provenance is kept beside the cells of a class, so a group's sealed fields share one class."""
    for group in Group:
        assert len({row.key_class for row in FIELDS if row.group is group and row.key_class}) <= 1, group


def test_sealed_fields_are_complete() -> None:
    """A sealed field has a type and a padding block; a derived one has sources that exist and belong together."""
    for rows in CLASSES.values():
        for row in rows:
            assert row.kind is not None
            assert row.block in (16, 32, 64)
    for row in FIELDS:
        assert all(source in BY_NAME for source in row.derived_from)
        assert bool(row.derived_from) == (row.derive is not None)


def test_surnames_alone_are_not_indexed() -> None:
    """Every index over names is compound: a lone surname's index gives most holders of common names away."""
    over_names = {index.name: index.fields for index in INDEXES if "names" in index.fields}
    assert over_names == {"full_name": ("names", "preferred_name"), "family_birth_date": ("names", "birth_date")}


def test_the_generated_pages_are_true() -> None:
    """`docs/fields.md` and `docs/settings.md` are what the code says; `make generate` writes them."""
    assert pages.stale() == []
