"""What the attacks on tokens share."""

from pathlib import Path

import pytest

from auth.tokens import TokenVerifier
from tests.security.signing import ALGORITHMS, signing_key, verifier


@pytest.fixture
def trusting(tmp_path: Path) -> TokenVerifier:
    """A verifier that trusts one key of each algorithm."""
    return verifier(tmp_path, *(signing_key(algorithm) for algorithm in ALGORITHMS))
