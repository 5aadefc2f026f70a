"""What the attacks share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from auth.tokens import TokenVerifier
from tests.client import client
from tests.conftest import Databases
from tests.intruder import Intruder
from tests.scene import Scene
from tests.security.signing import ALGORITHMS, signing_key, verifier


@pytest.fixture
def trusting(tmp_path: Path) -> TokenVerifier:
    """A verifier that trusts one key of each algorithm."""
    return verifier(tmp_path, *(signing_key(algorithm) for algorithm in ALGORITHMS))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """One scene for the module, on each engine in turn."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("scene")) as it:
        yield Scene(it, Intruder(url))
    databases.drop(url)
