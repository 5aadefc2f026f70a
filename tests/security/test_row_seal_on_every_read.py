"""No cell is opened before the seal of its row was verified, whichever way leads to it; few places open any at all."""

import ast
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME, FIELDS, KeyClass
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.services.exports import EVERYTHING, Exports
from crm.services.verification import verify
from crm.store import opening, resealing
from crm.store import record as records
from tests.house import ORG, REQUEST, House, actor, house
from tests.people import WHOLE

ROOT = Path(__file__).resolve().parents[2]

DOORS = {
    "data_key": {
        ("crm/store/opening.py", "unlock"),
        ("crm/store/resealing.py", "_changes"),
        ("crm/store/details.py", "seal"),
        ("crm/store/details.py", "_opened"),
        ("crm/store/soundness.py", "_detail_keys"),
    },
    "open": {("crm/store/opening.py", "content"), ("crm/store/resealing.py", "_sealed")},
}
"""Who unwraps data keys and who opens cells. Whoever exchanges a data key has to do both, behind `unlock`.

Keys of words beside events open no cell: their numbers are apart from those of records, and so is what they seal."""

UNLOCKERS = {f"crm/store/{room}.py" for room in ("opening", "changing", "resealing", "soundness", "history_soundness")}
"""Where a data key may be had."""


def calls(path: str, source: str) -> Iterator[tuple[str, str, str]]:
    """Method called, file and function, for each call that unwraps a data key, or opens a cell where one may be had."""
    tree = ast.parse(source)
    may_have_key = any(isinstance(node, ast.Name | ast.alias) and _name(node) == "unlock" for node in ast.walk(tree))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method = node.func.attr
                if method == "data_key" or (method == "open" and may_have_key):
                    yield method, path, function.name


def _name(node: ast.Name | ast.alias) -> str:
    return node.id if isinstance(node, ast.Name) else node.name


def sources() -> dict[str, str]:
    """Everything that could reach a data key, but the room that makes them."""
    files = [file for room in ("crm", "schema", "commands") for file in (ROOT / room).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}
    return {path: source for path, source in found.items() if not path.startswith("crm/crypto/")}


def test_data_keys_and_cells_are_opened_behind_few_doors() -> None:
    """Read from the source: who unwraps a data key, who opens a cell, and where the way to both is known at all."""
    found = {call for path, source in sources().items() for call in calls(path, source)}
    assert found == {(method, *where) for method, places in DOORS.items() for where in places}
    assert {path for path, source in sources().items() if re.search(r"\bunlock\b", source)} == UNLOCKERS


@pytest.mark.parametrize(
    "line",
    ["keys.data_key(org, one, two, 1, wrapped)", "from crm.store.opening import unlock\n    key.open(field, cell)"],
)
def test_another_door_would_be_seen(line: str) -> None:
    """The control: one more caller, anywhere, is found."""
    assert [where for _, *where in calls("crm/services/new.py", f"def read():\n    {line}")] == [
        ["crm/services/new.py", "read"]
    ]


class Watched:
    """A data key that remembers whether the seal of its row was verified, and complains when that comes too late."""

    def __init__(self, key: DataKey, seen: "WatchedKeys") -> None:
        self._key, self._seen, self._verified = key, seen, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)

    def verify_row(self, *row: Any, **record: Any) -> None:
        self._key.verify_row(*row, **record)
        self._verified = True

    def open(self, field: Any, sealed: bytes) -> bytes:
        self._seen.opened += 1
        self._seen.unverified += not self._verified
        return self._key.open(field, sealed)


class WatchedKeys:
    """A key set that watches what is done with the data keys it opens."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self.opened = self.unverified = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)

    def data_key(self, *place: Any) -> Watched:
        return Watched(self._keys.data_key(*place), self)


async def test_every_way_to_a_cell_leads_past_the_seal(database_url: str, tmp_path: Path) -> None:
    """Reading, searching, changing, exporting, recognising, exchanging data keys, verifying: the seal comes first."""
    watched: list[WatchedKeys] = []

    def watching(keys: KeySet) -> KeySet:
        watched.append(WatchedKeys(keys))
        return cast(KeySet, watched[0])

    async with house(database_url, tmp_path, keys=watching) as it:
        one = (await it.register(WHOLE))["id"]
        for way in WAYS:
            before = watched[0].opened
            await way(it, one)
            assert watched[0].opened > before, way
            assert watched[0].unverified == 0, way

        fetch = partial(it.database.fetch, ORG)
        record = (await records.load(fetch, ORG, [one], BY_NAME))[one]
        row, keys = record.rows[KeyClass.PREFERENCE], it.services.store.keys
        cells = opening.unlock(keys, record, KeyClass.PREFERENCE)[1]
        key = keys.data_key(ORG, one, KeyClass.PREFERENCE, row.dek_no, row.wrapped or b"")
        opening.content(key, cells, BY_NAME["time_zone"])
        assert watched[0].unverified == 1  # the control: a key that no row was verified with


async def _read(it: House, one: str) -> None:
    await it.services.profiles.read(actor(Role.INTEGRATION), REQUEST, one, EVERYTHING)


async def _change(it: House, one: str) -> None:
    changed = {"preferred_name": "Neu", "contact_points": None, "religion": "Other"}
    await it.services.changes.update(actor(Role.INTEGRATION), REQUEST, one, 1, changed, frozenset({"displayName"}))


async def _export(it: House, one: str) -> None:
    assert await Exports(it.services.store, actor(Role.INTEGRATION), REQUEST).patient(one)


async def _recognise(it: House, one: str) -> None:
    async with it.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.IMPORT) as unit:
        record = (await unit.load_for_change([one]))[one]
        assert unit.compare(record, {"names"}, lambda values: bool(values["names"]))
        assert unit.current(record, {row.name for row in FIELDS if row.key_class})


async def _exchange(it: House, one: str) -> None:
    store = it.services.store
    later = store.clock() + 1
    assert await resealing.reseal(it.database, store.keys, ORG, one, later, later) == (len(KeyClass), 0)


async def _verify(it: House, _one: str) -> None:
    await verify(it.services.store, it.database, actor(Role.OPERATOR), REQUEST, None, lambda _done, _of: None)


async def _look_back(it: House, one: str) -> None:
    history = it.services.history
    await history.read(actor(Role.PRIVACY_OFFICER), REQUEST, one, EVERYTHING, version=1)
    await history.versions(actor(Role.PRIVACY_OFFICER), REQUEST, one, 5, None, EVERYTHING)


WAYS = (_read, _change, _export, _recognise, _look_back, _exchange, _look_back, _verify)
