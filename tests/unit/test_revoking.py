"""Whose tokens a command revokes: an issuer that is configured, and never one by mistake."""

from pathlib import Path
from typing import Any

import pytest

from auth import development
from commands.revoking import _issuer
from crm.errors import Unsafe
from crm.settings import Settings, load

ONE = {"issuer": "https://one.test", "audience": "heed", "jwks_url": "https://one.test/jwks", "algorithms": ["ES256"]}
TWO = {**ONE, "issuer": "https://two.test", "jwks_url": "https://two.test/jwks"}


def configured(folder: Path, *issuers: dict[str, Any]) -> Settings:
    """The settings of a place with these issuers."""
    return load(data_dir=folder, database_url=f"sqlite:///{folder}/heed.db", issuers=list(issuers))


def test_the_only_issuer_is_meant(tmp_path: Path) -> None:
    """In development without any, the embedded one."""
    assert _issuer(configured(tmp_path, ONE), None) == "https://one.test"
    assert _issuer(configured(tmp_path), None) == development.ISSUER


def test_of_several_one_is_named(tmp_path: Path) -> None:
    """Else nothing is revoked, and the command says which there are."""
    both = configured(tmp_path, ONE, TWO)
    assert _issuer(both, "https://two.test") == "https://two.test"
    with pytest.raises(Unsafe, match=r"--issuer \(https://one.test, https://two.test\)"):
        _issuer(both, None)


def test_an_unknown_issuer_is_a_slip(tmp_path: Path) -> None:
    """Its tokens are not believed anyway, so another one was meant."""
    with pytest.raises(Unsafe, match="there are: https://one"):
        _issuer(configured(tmp_path, ONE), "https://one.test/")
