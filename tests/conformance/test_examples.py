"""The examples of docs/integrating.md do what the page says, as somebody runs them: against a service that listens."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.domain.erasure import ErasureReason
from crm.store import feed
from tests.conftest import Databases
from tests.house import ORG, REQUEST, actor
from tests.listening import Reachable, reachable
from tests.pages import Reader, put, shell_lines
from tests.processes import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 30.0


@pytest.fixture
async def here(databases: Databases, tmp_path: Path) -> AsyncIterator[Reachable]:
    """A service that listens."""
    url = databases.create("sqlite")
    async with reachable(url, tmp_path) as it:
        yield it
    databases.drop(url)


async def started(here: Reachable, role: Role, name: str, *words: str) -> asyncio.subprocess.Process:
    """An example that was started with a token of `role`."""
    asked = {**environment(), "CLINIC_URL": here.address, "CLINIC_TOKEN": here.token(role, "example")}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *words, env=asked, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def ran(here: Reachable, role: Role, name: str, *words: str, told: str = "") -> tuple[int | None, str, str]:
    """Status, standard output and standard error of an example that came to its end."""
    process = await started(here, role, name, *words)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(told.encode())
    return process.returncode, out.decode(), err.decode()


async def change(here: Reachable, patient: str, version: int, *, org: str = ORG, **values: Any) -> None:
    """Changes a record."""
    clerk = actor(Role.INTEGRATION, org=org)
    await here.house.services.changes.update(clerk, REQUEST, patient, version, values, frozenset())


async def test_look_up(here: Reachable) -> None:
    """One person, and a refusal that says its code."""
    patient = (await here.house.register())["id"]
    status, out, err = await ran(here, Role.FRONT_DESK, "look_up.py", patient)
    assert (status, err) == (0, "")
    assert json.loads(out)["displayName"] == "Sam"
    assert await ran(here, Role.FRONT_DESK, "look_up.py", "nobody") == (1, "", "refused: NOT_FOUND\n")
    status, _, err = await ran(here, Role.OPERATOR, "look_up.py", patient)
    assert (status, err) == (1, "refused: FORBIDDEN\n")


async def test_read_many(here: Reachable) -> None:
    """Every line is answered in its order, also beyond what one request may name."""
    patient = (await here.house.register())["id"]
    ids = [patient, *(f"unknown-{n}" for n in range(1_000)), patient]
    status, out, err = await ran(here, Role.MESSAGING, "read_many.py", told="\n".join(ids))
    answers = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [answer["id"] for answer in answers] == ids
    assert answers[0]["displayName"] == answers[-1]["displayName"] == "Sam"
    assert {answer.get("code") for answer in answers[1:-1]} == {"NOT_FOUND"}


async def test_follow_changes(here: Reachable, tmp_path: Path) -> None:
    """Each change is printed once, also those that happened while nobody followed."""
    place = tmp_path / "position.txt"
    patient = (await here.house.register())["id"]
    place.write_text((await here.house.services.feed.page(actor(Role.INTEGRATION), REQUEST, 1, None)).newest)
    for first in (1, 3):
        process = await started(here, Role.FRONT_DESK, "follow_changes.py", str(place), patient)
        assert process.stdout is not None
        try:
            for version in (first, first + 1):
                await change(here, patient, version, pronouns=f"p{version}")
                async with asyncio.timeout(PATIENCE):
                    told = json.loads(await process.stdout.readline())
                assert (told["id"], told["version"], told["changedFields"]) == (patient, version + 1, ["pronouns"])
            while place.read_text() != told["position"]:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        finally:
            process.kill()
            await process.communicate()
    status, _, err = await ran(here, Role.OPERATOR, "follow_changes.py", str(place))
    assert (status, err) == (1, "refused: FORBIDDEN\n")


async def test_watch_the_log(here: Reachable, tmp_path: Path) -> None:
    """Each look at a celebrity is printed once, also one while nobody watched; other looks are not."""
    place = tmp_path / "position.txt"
    other = (await here.house.register())["id"]
    famous = await here.house.store({"preferred_name": "Bo", "sensitivity": ["CELEBRITY"]})

    async def looked() -> None:
        for patient in (other, famous):
            clerk = actor(Role.FRONT_DESK, subject="ann")
            await here.house.services.profiles.read(clerk, REQUEST, patient, frozenset({"displayName"}))

    found: list[dict[str, Any]] = []
    for _ in range(2):
        process = await started(here, Role.COMPLIANCE_OFFICER, "watch_the_log.py", str(place), "VIP")
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while not place.exists():  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(0.01)
                begun = place.read_text()
                if not found:
                    await looked()
                found.append(json.loads(await process.stdout.readline()))
                while place.read_text() == begun:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            process.kill()
            await process.communicate()
        await looked()
    told = [(event["actor"]["subject"], event["patientId"], event["flags"]) for event in found]
    assert told == [("ann", famous, ["VIP"])] * 2
    assert found[0]["seq"] < found[1]["seq"]
    assert await ran(here, Role.FRONT_DESK, "watch_the_log.py", str(place)) == (1, "", "refused: FORBIDDEN\n")


async def test_keep_a_copy(here: Reachable, tmp_path: Path) -> None:
    """What is new, changed and erased finds its way into the copy; also where the position was lost meanwhile."""
    place = tmp_path / "copy.json"
    one, other = [(await here.house.register())["id"] for _ in range(2)]

    async def refreshed() -> tuple[str, dict[str, Any]]:
        status, out, err = await ran(here, Role.INTEGRATION, "keep_a_copy.py", str(place))
        assert (status, err) == (0, "")
        return out, json.loads(place.read_text())["records"]

    out, records = await refreshed()
    assert (out, set(records)) == ("2 records were changed, 2 are known\n", {one, other})
    await change(here, one, 1, preferred_name="Ann")
    out, records = await refreshed()
    assert (out, records[one]["displayName"]) == ("1 records were changed, 2 are known\n", "Ann")
    await change(here, one, 2, preferred_name="Bea")
    officer = actor(Role.PRIVACY_OFFICER)
    await here.house.services.erasures.erase(officer, REQUEST, other, 1, None, ErasureReason.UNLAWFUL)
    await feed.settle(here.house.database, ORG)
    assert await feed.prune(here.house.database, ORG, 2**60) == 4
    out, records = await refreshed()
    assert (out, set(records)) == ("2 records were changed, 1 are known\n", {one})
    assert records[one]["displayName"] == "Bea"


async def test_the_lines_of_the_page(here: Reachable, tmp_path: Path) -> None:
    """Typed one behind the other as they stand, with the page's variables and roles, and no file from before."""
    address, token, look_up, read_many, follow, receive, copy, watch = shell_lines("integrating.md")
    patient = (await here.house.register(org="demo"))["id"]
    famous = await here.house.store({"preferred_name": "Bo", "sensitivity": ["CELEBRITY"]}, org="demo")
    own = {"http://127.0.0.1:8000/graphql": here.address, "0198f0c2-7a00-7000-8000-000000000001": patient}
    reader = Reader.of(tmp_path / "reader", data_dir=tmp_path)
    (reader.folder / "ids.txt").write_text(patient)
    for line in (address, token):
        await reader.exports(put(line, own))
    assert json.loads(await reader.typed(put(look_up, own)))["displayName"] == "Sam"
    assert json.loads(await reader.typed(read_many))["id"] == patient
    async with reader.started(put(follow, own)) as following, asyncio.timeout(PATIENCE):
        assert following.stdout is not None
        told, version = asyncio.create_task(following.stdout.readline()), 1
        while not told.done():  # the first of them that is heard of: it follows from some moment on
            await change(here, patient, version, org="demo", pronouns=f"p{version}")
            version += 1
            await asyncio.wait([told], timeout=0.2)
        assert json.loads(await told)["changedFields"] == ["pronouns"]
    assert "CLINIC_WEBHOOK_SECRET=" in receive  # test_webhook_example.py types that
    assert await reader.typed(copy) == "2 records were changed, 2 are known\n"
    async with reader.started(watch) as watching, asyncio.timeout(PATIENCE):
        assert watching.stdout is not None
        while not (reader.folder / "log-position.txt").exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
        clerk = actor(Role.FRONT_DESK, subject="ann", org="demo")
        await here.house.services.profiles.read(clerk, REQUEST, famous, frozenset({"displayName"}))
        assert json.loads(await watching.stdout.readline())["patientId"] == famous
