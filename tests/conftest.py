"""What every test may ask for: a fresh database on either engine, the shared sample data, and a network that ends here.

A test that takes `database_url` runs twice, on SQLite and on PostgreSQL, each time with a database of its own that
already has the newest tables. `empty_database_url` is the same before any migration. `engine` names the one in use.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio

from tests.postgres import Postgres, memory, running

if TYPE_CHECKING:
    from tests.client import Client

ENGINES = ("sqlite", "postgresql")
SHARED_DATA = Path(__file__).resolve().parents[1] / "../shared/data"

# Cores are shared and noisy: no test is judged by its time. On a build server every run draws the same examples.
hypothesis.settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("house")


def _stay_home(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if host not in {"localhost", "::1"} and not str(host).startswith("127."):
            raise PermissionError(f"a test tried to reach {host}; only loopback is allowed")


if "HEED_TEST_POSTGRES_URL" not in os.environ:
    sys.addaudithook(_stay_home)


class Databases:
    """Makes fresh databases quickly: each engine is migrated once per run, and every test gets a copy of that.

    Those of SQLite lie in `folder`; `lock` is the file by which all workers take turns to migrate. PostgreSQL is
    started when it is first needed, and stopped by `close`.
    """

    def __init__(self, folder: Path, lock: Path) -> None:
        self._folder = folder
        self._lock = lock
        self._templates: dict[str, str] = {}
        self._made = 0
        self._cleaning = ExitStack()

    @cached_property
    def postgres(self) -> Postgres:
        """The PostgreSQL server of this run (of this worker, when several run)."""
        return self._cleaning.enter_context(running(in_memory=True))

    def create(self, engine: str, *, migrated: bool = True) -> str:
        """The URL of a new database on `engine` (`sqlite` or `postgresql`), with the newest tables or with none."""
        return self._copy(engine, self._template(engine) if migrated else None)

    def drop(self, url: str) -> None:
        """Remove the database at `url` and all that belongs to it."""
        if url.startswith("sqlite:"):
            shutil.rmtree(_file(url).parent)
        else:
            self.postgres.drop(url)

    def close(self) -> None:
        """Remove the templates, and stop what was started."""
        with self._cleaning:
            for url in self._templates.values():
                self.drop(url)

    def _template(self, engine: str) -> str:
        from crm.store.migrations import upgrade  # noqa: PLC0415 - tests of the rooms below need no store

        if engine not in self._templates:
            url = self._copy(engine, None)
            with self._lock.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # roles belong to the whole server, which workers may share
                upgrade(url)
            self._templates[engine] = url
        return self._templates[engine]

    def _copy(self, engine: str, template: str | None) -> str:
        if engine == "postgresql":
            return self.postgres.create(template)
        self._made += 1
        folder = self._folder / f"sqlite-{self._made}"
        if template:
            shutil.copytree(_file(template).parent, folder)
        else:
            folder.mkdir()
        return f"sqlite:///{folder / 'heed.db'}"


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The maker of databases, for a test that needs several, or one on a particular engine."""
    with tempfile.TemporaryDirectory(prefix="heed-sqlite-", dir=memory()) as folder:
        made = Databases(Path(folder), tmp_path_factory.getbasetemp().parent / "migrating")
        yield made
        made.close()


@pytest.fixture(scope="session")
def postgres(databases: Databases) -> Postgres:
    """The running PostgreSQL server, for a test that needs the server itself."""
    return databases.postgres


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """`sqlite`, then `postgresql`."""
    return str(request.param)


@pytest.fixture
def database_url(engine: str, databases: Databases) -> Iterator[str]:
    """The URL of a fresh database with the newest tables, on each engine in turn."""
    url = databases.create(engine)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module", params=ENGINES)
def shared_engine(request: pytest.FixtureRequest) -> str:
    """The engine of `served`: `sqlite`, then `postgresql`."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> "AsyncIterator[Client]":
    """A client that all tests of one module share, on each engine in turn.

    For modules with `pytestmark = pytest.mark.asyncio(loop_scope="module")`, whose tests leave each other's patients
    alone.
    """
    from tests.client import client  # noqa: PLC0415 - tests of the rooms below need no server

    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("served")) as one:
        yield one
    databases.drop(url)


@pytest.fixture
def empty_database_url(engine: str, databases: Databases) -> Iterator[str]:
    """The URL of a fresh database without any table, on each engine in turn."""
    url = databases.create(engine, migrated=False)
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared sample data beside the project's root; skips the test where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no shared sample data beside this checkout (../shared/data)")
    return SHARED_DATA.resolve()
