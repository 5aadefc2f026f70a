"""Blind indexes: equal where they must be, unrelated everywhere else, and cut to their bits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm.crypto import index
from crm.crypto.keyset import KeySet
from tests.keys import key_set


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    """A key set of its own."""
    return key_set(tmp_path)


@pytest.mark.parametrize(("bits", "octets"), [(1, 1), (8, 1), (12, 2), (16, 2), (20, 3), (128, 16), (256, 32)])
def test_values_are_cut_to_their_bits(keys: KeySet, bits: int, octets: int) -> None:
    """A value has as few octets as hold its bits, and the bits left over are zero."""
    full = keys.index_value("org", "phone", 256, b"+442071838750")
    value = keys.index_value("org", "phone", bits, b"+442071838750")
    assert len(value) == octets
    assert int.from_bytes(value) == int.from_bytes(full) >> 256 - bits << octets * 8 - bits


def test_one_value_is_unrelated_across_organisations_and_indexes(keys: KeySet) -> None:
    """The same telephone number in two organisations, or in two indexes, cannot be linked."""
    places = [("org-1", "phone"), ("org-2", "phone"), ("org-1", "email"), ("org-1phone", "")]
    assert len({keys.index_value(org, name, 128, b"+442071838750") for org, name in places}) == len(places)


def test_values_are_repeatable_and_depend_on_the_key(keys: KeySet, tmp_path: Path) -> None:
    """A value is the same each time, and another database's key gives another."""
    (tmp_path / "other").mkdir()
    other = key_set(tmp_path / "other")
    first = keys.index_value("org", "phone", 128, b"x")
    assert keys.index_value("org", "phone", 128, b"x") == first
    assert other.index_value("org", "phone", 128, b"x") != first


def test_digests_are_apart_from_indexes_and_purposes(keys: KeySet) -> None:
    """A digest has 32 octets, is repeatable, and is unrelated to an index of the same name."""
    digest = keys.digest("org", "phone", b"x")
    assert len(digest) == 32
    assert digest == keys.digest("org", "phone", b"x")
    assert digest not in {keys.index_value("org", "phone", 256, b"x"), keys.digest("org", "import", b"x")}
    assert digest != keys.digest("org-2", "phone", b"x")


def test_derivation_names_cannot_be_confused() -> None:
    """What an index is derived for is distinct for every organisation and index, whatever their lengths."""
    names = ["", "a", "ab", "b", "phone"]

    def infos() -> Iterator[bytes]:
        for tenant in names:
            for name in names:
                yield index.search_info(tenant, "patient", name)
                yield index.digest_info(tenant, name)

    assert len(set(infos())) == 2 * len(names) ** 2


def test_many_organisations_do_not_grow_the_key_set_for_ever(keys: KeySet) -> None:
    """Started hashes are remembered up to a limit, and values stay right beyond it."""
    first = keys.index_value("org-0", "phone", 64, b"x")
    for number in range(4200):
        keys.index_value(f"org-{number}", "phone", 64, b"x")
    assert len(keys._templates) <= 4096
    assert keys.index_value("org-0", "phone", 64, b"x") == first
