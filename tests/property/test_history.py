"""Whatever happens to a record, in whatever order: every version of it reads as a simple model says that it was."""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME, KeyClass
from crm.errors import Erased
from crm.store import resealing
from crm.store.view import View
from tests.conftest import Databases
from tests.house import ORG, REQUEST, House, actor, house, now

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES: Final[dict[str, list[Any]]] = {
    "preferred_name": ["Sam", "Samira", None],
    "time_zone": ["UTC", "Africa/Nairobi", None],
    "instructions": ["Knock.", None],
    "pronouns": ["they/them", "ze/zir", None],
    "care_team": [["Pat"], ["Pat", "Kim"], None],
    "addresses": [[{"use": "HOME", "city": "Leeds"}], None],
    "restricted": [True, False],
}
"""Fields of every class, and the clear one that all rows vouch for; with what they become."""

_NAMES: Final = frozenset(VALUES)
_VIEW: Final = View(frozenset(path for name in VALUES for path in BY_NAME[name].paths))


class Change(NamedTuple):
    """New values of some fields."""

    values: dict[str, Any]


class Erase(NamedTuple):
    """The end of what was in one class."""

    key_class: KeyClass


class Rotate(NamedTuple):
    """New data keys; no new version."""


_changes = st.builds(
    Change, st.fixed_dictionaries({}, optional={name: st.sampled_from(given) for name, given in VALUES.items()})
)
_steps = st.lists(
    st.one_of(_changes, _changes, st.builds(Erase, st.sampled_from(KeyClass)), st.builds(Rotate)), max_size=7
)


class Said(NamedTuple):
    """One version: what was filled in, the classes that there were, and those of them that were erased since."""

    values: dict[str, Any]
    classes: frozenset[KeyClass]
    erased: frozenset[KeyClass]

    def without(self, key_class: KeyClass) -> "Said":
        """The same once that class was erased: erasure reaches every version."""
        kept = {name: value for name, value in self.values.items() if BY_NAME[name].key_class is not key_class}
        return Said(kept, self.classes, self.erased | ({key_class} & self.classes))

    def answer(self) -> dict[str, Any]:
        """As it is answered; the restriction goes with the last class that vouches for it."""
        lost = {name for name in VALUES if BY_NAME[name].key_class in self.erased}
        if self.erased and self.erased == self.classes:
            lost.add("restricted")
        return {**self.values, **dict.fromkeys(lost, Erased)}


class Model:
    """All versions of one record."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.versions: list[Said] = []
        self._now = Said({"restricted": False}, frozenset(), frozenset())
        self.step(Change(values))

    def step(self, step: Change | Erase | Rotate) -> None:
        """One more version, where the step makes one."""
        if isinstance(step, Rotate):
            return
        if isinstance(step, Erase):
            self.versions = [version.without(step.key_class) for version in self.versions]
            self._now = self._now.without(step.key_class)
        else:
            values, classes, erased = self._now
            new = {name: value for name, value in step.values.items() if values.get(name) != value}
            if not new and self.versions:
                return
            touched = {key_class for name in new if (key_class := BY_NAME[name].key_class)}
            filled = {name: value for name, value in {**values, **new}.items() if value is not None}
            self._now = Said(filled, classes | touched, erased - touched)
        self.versions.append(self._now)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One service for the module, on each engine in turn."""
    url = databases.create(shared_engine)
    async with house(url, tmp_path_factory.mktemp("history")) as opened:
        yield opened
    databases.drop(url)


async def do(it: House, patient_id: str, step: Change | Erase | Rotate) -> None:
    """The step, in the service."""
    if isinstance(step, Rotate):
        await resealing.reseal(it.database, it.services.store.keys, ORG, patient_id, now() + 1, now())
        return
    async with it.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.UPDATE) as unit:
        record = (await unit.load_for_change([patient_id]))[patient_id]
        if isinstance(step, Erase):
            await unit.erase(record, frozenset({step.key_class}), "PATIENT_REQUEST")
        else:
            unit.change(record, step.values, "test")


async def versions(it: House, patient_id: str) -> list[dict[str, Any]]:
    """What every version says, the first first."""
    async with it.services.store.reading(REQUEST.context(actor(Role.PRIVACY_OFFICER)), Act.READ) as unit:
        present = (await unit.load([patient_id], _NAMES))[patient_id]
        found = await unit.load_past(present, (await unit.versions(patient_id, 2**53, 100))[::-1], _NAMES)
        told = [unit.open(record, _VIEW) for record in found]
    return [
        {name: Erased if isinstance(value, Erased) else value for name, value in each.items() if name in VALUES}
        for each in told
    ]


@settings(max_examples=30)
@given(first=_changes, steps=_steps)
async def test_every_version_reads_as_it_was(it: House, first: Change, steps: list[Change | Erase | Rotate]) -> None:
    """Changes, restrictions, erasures of classes, their refilling, and new data keys, in any order."""
    model, patient_id = Model(first.values), await it.store({}, raw=first.values)
    for step in steps:
        model.step(step)
        await do(it, patient_id, step)
    assert await versions(it, patient_id) == [version.answer() for version in model.versions]
