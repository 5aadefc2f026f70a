"""The development issuer is an ordinary issuer to the verifier, and keeps its key to itself."""

import json
from pathlib import Path

import pytest

from auth.development import AUDIENCE, DEFAULT_PURPOSES, ISSUER, JWKS_FILE, KEY_FILE, DevelopmentIssuer
from auth.issuers import IssuerKeys, UnsafeIssuer
from auth.policy import GRANTS
from auth.purposes import Purpose
from auth.roles import Role
from auth.tokens import MAX_LIFETIME, TokenVerifier


def verifier(signer: DevelopmentIssuer) -> TokenVerifier:
    """A verifier that trusts this development issuer only."""
    return TokenVerifier([IssuerKeys(signer.issuer)])


@pytest.mark.parametrize("role", Role)
def test_token_of_each_role(tmp_path: Path, role: Role) -> None:
    """A token of each role is accepted and states a purpose that the policy grants to that role."""
    signer = DevelopmentIssuer(tmp_path)
    actor = verifier(signer).verify("Bearer " + signer.sign(role, "sam", org="org-1", patient="p-1"))
    assert (actor.subject, actor.issuer, actor.org, actor.roles) == ("sam", ISSUER, "org-1", frozenset({role}))
    assert actor.patient_id == ("p-1" if role in {Role.PATIENT, Role.PROXY} else None)
    assert actor.purpose is DEFAULT_PURPOSES[role]
    assert any(grant.role is role and actor.purpose in grant.purposes for grant in GRANTS)


def test_another_purpose_and_client(tmp_path: Path) -> None:
    """Purpose, client and lifetime can be chosen; every token has a number of its own."""
    signer = DevelopmentIssuer(tmp_path)
    tokens = [
        signer.sign(Role.CLINICIAN, "sam", purpose=Purpose.ETREAT, client_id="ward", ttl=MAX_LIFETIME) for _ in range(2)
    ]
    actors = [verifier(signer).verify(f"Bearer {token}") for token in tokens]
    assert actors[0].purpose is Purpose.ETREAT
    assert actors[0].client_id == "ward"
    assert actors[0].token_id != actors[1].token_id


@pytest.mark.parametrize("ttl", [0, -1, MAX_LIFETIME + 1])
def test_lifetime_that_no_verifier_accepts(tmp_path: Path, ttl: int) -> None:
    """A token that would be refused anyway is not signed."""
    with pytest.raises(ValueError):
        DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "sam", ttl=ttl)


def test_key_stays_the_same(tmp_path: Path) -> None:
    """The key is made once: tokens of an earlier run are good in the next."""
    token = DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "sam")
    assert verifier(DevelopmentIssuer(tmp_path)).verify(f"Bearer {token}").subject == "sam"


def test_keys_of_two_folders_differ(tmp_path: Path) -> None:
    """Two installations do not believe each other."""
    ours, theirs = DevelopmentIssuer(tmp_path / "ours"), DevelopmentIssuer(tmp_path / "theirs")
    assert (tmp_path / "ours" / KEY_FILE).read_bytes() != (tmp_path / "theirs" / KEY_FILE).read_bytes()
    assert ours.issuer.audience == theirs.issuer.audience == AUDIENCE


def test_files(tmp_path: Path) -> None:
    """The private key is for its owner only, and nothing of it is in the public file; no drafts are left behind."""
    folder = tmp_path / "new" / "var"
    DevelopmentIssuer(folder)
    assert {path.name for path in folder.iterdir()} == {KEY_FILE, JWKS_FILE}
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    private = json.loads((folder / KEY_FILE).read_text())
    public = (folder / JWKS_FILE).read_text()
    assert private["d"] not in public
    assert set(json.loads(public)["keys"][0]) == {"kty", "crv", "x", "kid", "use"}


def test_public_file_follows_the_key(tmp_path: Path) -> None:
    """A lost or altered public file is written again."""
    token = DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "sam")
    (tmp_path / JWKS_FILE).write_text("{}")
    assert verifier(DevelopmentIssuer(tmp_path)).verify(f"Bearer {token}").subject == "sam"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_key_open_to_others(tmp_path: Path, mode: int) -> None:
    """A key that others may read is not used, and the message says what to do."""
    DevelopmentIssuer(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(UnsafeIssuer, match="chmod 600"):
        DevelopmentIssuer(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"kty":"oct","kid":"a","k":"AAAA"}', '{"kty":"OKP","kid":"a"}']
)
def test_damaged_key(tmp_path: Path, text: str) -> None:
    """A damaged key is not replaced silently, since tokens in use would die; the message says what to do."""
    DevelopmentIssuer(tmp_path)
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(UnsafeIssuer, match="delete it"):
        DevelopmentIssuer(tmp_path)
