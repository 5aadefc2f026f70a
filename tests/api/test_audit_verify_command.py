"""`audit verify` as its users see it: what it prints, its exit status, and what it needs."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from commands.house import house
from commands.log_verifying import Asked, Report, cannot_exclude, check, lines
from commands.recounting import recount
from crm.crypto.note import open_note
from crm.errors import Unsafe
from crm.settings import Settings, load
from crm.store import proofs
from tests.conftest import Databases
from tests.forger import Forger
from tests.logs import event
from tests.processes import command, founded
from tests.witnesses import COSIGNER, attending, request, witness

ORIGIN = "heed.invalid/north/1"
KEEP = 300


class Place:
    """A folder with keys and a SQLite database, and a log of north that grows when a test says so."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.named: dict[str, Any] = founded(folder, url)
        self.settings: Settings = load(**self.named)

    async def grow(self, count: int, org: str = "north") -> str:
        """The signed checkpoint, after `count` more events."""
        async with house(self.settings) as it:
            await it.log.append(org, [event(number) for number in range(count)])
            self.signer = it.services.store.keys.log_signer(ORIGIN)
            head = await proofs.head(it.database, org)
        assert head is not None
        assert head.note is not None
        return head.note

    def kept(self, name: str, note: str) -> Path:
        """A file with a checkpoint, as an auditor keeps it."""
        file = self.folder / name
        file.write_text(note)
        return file

    async def verified(self, **asked: Any) -> Report:
        """What the command finds."""
        return await check(self.settings, Asked(**asked), quiet=True)

    @property
    def file(self) -> Path:
        """The database."""
        return Path(self.url.removeprefix("sqlite:///"))


@pytest.fixture
def place(databases: Databases, tmp_path: Path) -> Any:
    """An empty place."""
    url = databases.create("sqlite")
    yield Place(url, tmp_path)
    databases.drop(url)


async def test_all_well(place: Place) -> None:
    """Status 0, the size, and what no verification of the database alone can exclude."""
    await place.grow(KEEP)
    ended = command("audit", "verify", **place.named)
    assert ended.returncode == 0, ended.stderr
    assert f"north: {ORIGIN}: {KEEP} events" in ended.stdout
    assert "all well" in ended.stdout
    assert "north: cannot exclude that the newest events were removed and an older genuine checkpoint" in ended.stdout


async def test_something_wrong(place: Place) -> None:
    """Status 4 and the first bad number, for people and for programs."""
    await place.grow(KEEP)
    await Forger(place.url).run("UPDATE audit_event SET actor = 'x' WHERE seq = 77")
    ended = command("audit", "verify", "--org", "north", "--json", **place.named)
    [log] = json.loads(ended.stdout.splitlines()[-1])["logs"]
    assert (ended.returncode, log["first_bad"], log["counts"]) == (4, [77, 78], {"index_wrong": 1})
    told = lines(await place.verified())
    assert any("BAD: the first bad number is 77" in line for line in told)
    assert any(line.startswith("north: 77: index_wrong: ") and line.endswith("(actor)") for line in told)


async def test_kept_checkpoint(place: Place) -> None:
    """What an auditor kept fits, and from its size on only the log vouches for itself."""
    file = place.kept("north.note", await place.grow(KEEP))
    await place.grow(20)
    [found] = (await place.verified(checkpoints=[file])).logs
    assert (found.sound, found.vouched, found.size) == (True, KEEP, KEEP + 20)
    told = lines(await place.verified(checkpoints=[file]))
    assert any(
        f"cannot exclude that whoever has the log's key changed or removed events from {KEEP} on" in x for x in told
    )


async def test_restored_database(place: Place) -> None:
    """An older copy of the file: ROLLBACK with both sizes and both signed notes, also where the house does not open."""
    await place.grow(KEEP)
    copy = shutil.copytree(place.file.parent, place.folder / "copy")
    file = place.kept("north.note", await place.grow(50))
    shutil.rmtree(place.file.parent)
    shutil.copytree(copy, place.file.parent)
    ended = command("audit", "verify", "--checkpoint", file, **place.named)
    assert ended.returncode == 4
    assert "ROLLBACK" in ended.stdout
    [found] = (await place.verified(checkpoints=[file])).logs
    [damage] = [each for each in found.damages.named if each.part == str(file)]
    sizes = [open_note(note, place.signer.verifier_key).split("\n")[1] for note in damage.proofs]
    assert sizes == [str(KEEP + 50), str(KEEP)]
    assert all(f"    {size}" in ended.stdout.splitlines() for size in sizes)


async def test_journal_beside_the_database(place: Place) -> None:
    """The journal of the machine is compared and vouches for nothing, since a copy may have brought it along.

    It tells even of a log that is gone altogether.
    """
    from crm.store.checkpoint_journal import CheckpointJournal  # noqa: PLC0415 - only here

    note = await place.grow(KEEP)
    CheckpointJournal(place.settings.checkpoint_journal).follow({"north": note})
    found = (await place.verified()).logs[-1]
    assert (found.outside, found.vouched) == ([("journal of this machine", KEEP)], None)
    assert len(cannot_exclude(found)) == 2
    for table in ("audit_event", "audit_head", "audit_tile", "organisation"):
        await Forger(place.url).run(f"DELETE FROM {table} WHERE org = 'north'")
    [found] = [each for each in (await place.verified()).logs if each.org == "north"]
    assert "rollback" in found.damages.counts


async def test_auditor_without_keys(place: Place) -> None:
    """The verifier key is enough, and without any the command says what it needs."""
    await place.grow(KEEP)
    (place.folder / "keyring.json").unlink()
    assert (await place.verified(orgs=["north"], keys=[place.signer.verifier_key])).sound
    with pytest.raises(Unsafe):
        await place.verified()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"orgs": ["nowhere"]}, "nothing was ever recorded"),
        ({"witnesses": ["https://w.test=nothing"]}, "URL=VKEY"),
        ({"keys": ["nothing"]}, "verifier key of a log"),
        ({"checkpoints": [Path("not/there")]}, "cannot be read"),
    ],
)
async def test_what_cannot_be_asked(place: Place, asked: dict[str, Any], said: str) -> None:
    """Each refusal names what was wrong with the question."""
    await place.grow(1)
    with pytest.raises(Unsafe, match=said):
        await place.verified(**asked)


async def test_witness(place: Place) -> None:
    """What a witness saw is asked for and compared; one that is away is said, and nothing is wrong by that."""
    note = await place.grow(KEEP)
    seen = witness(place.folder / "witness", place.signer)
    seen.add(request(0, [], note))
    with attending(seen) as url:
        asked = f"{url}={COSIGNER.verifier_key}"
        [found] = (await place.verified(orgs=["north"], witnesses=[asked])).logs
    assert (found.sound, found.vouched, found.outside) == (True, KEEP, [(f"witness {COSIGNER.name}", KEEP)])
    report = await place.verified(orgs=["north"], witnesses=[asked])
    assert report.sound
    assert [line.split(":")[0] for line in report.unreached] == [COSIGNER.name]
    assert report.logs[0].vouched is None


async def test_edited_sums(place: Place) -> None:
    """Sums of days by which a person would look calmer are named by day and person, and counted anew on demand."""
    await place.grow(KEEP)
    await recount(place.settings, "north")
    assert (await place.verified(orgs=["north"])).sound
    await Forger(place.url).run("UPDATE audit_actor_day SET events = events - 1 WHERE org = ?", "north")
    report = await place.verified(orgs=["north"])
    day = time.time_ns() // 86_400_000_000_000
    assert dict(report.logs[0].damages.counts) == {"derived_wrong": 1}
    assert any("derived_wrong" in line and f"(day {day}, " in line for line in lines(report)), lines(report)
    await recount(place.settings, "north")
    assert (await place.verified(orgs=["north"])).sound
    with pytest.raises(Unsafe, match="nothing was ever recorded"):
        await recount(place.settings, "nowhere")
