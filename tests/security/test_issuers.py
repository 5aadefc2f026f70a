"""Key sets that must not be trusted, addresses that must not be asked, and refreshes that must not do harm."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from auth.issuers import MAX_JWKS_KEYS, MAX_JWKS_OCTETS, Issuer, IssuerKeys, UnsafeIssuer, load_jwks
from auth.tokens import TokenVerifier
from tests.security.signing import ALGORITHMS, AUDIENCE, ISSUER, bearer, encode, issuer, jwks, signing_key

ED = signing_key("EdDSA")
RSA = signing_key("RS256")
EC = signing_key("ES256")
TRUSTED = Issuer(ISSUER, AUDIENCE, ALGORITHMS, jwks_file=Path("unused"))
PRIVATE: dict[str, Callable[[], dict[str, Any]]] = {
    "RS256": lambda: RSAAlgorithm.to_jwk(RSA.private, as_dict=True),
    "ES256": lambda: ECAlgorithm.to_jwk(EC.private, as_dict=True),
    "EdDSA": lambda: OKPAlgorithm.to_jwk(ED.private, as_dict=True),
}


class Web:
    """Stands in for the network: answers with what it was given, or fails, and counts."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, url: str, limit: int) -> bytes:
        self.asked.append((url, limit))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused(octets: bytes, trusted: Issuer = TRUSTED) -> str:
    """The complaint about a key set; it names the issuer and no key material."""
    with pytest.raises(UnsafeIssuer) as refusal:
        load_jwks(octets, trusted)
    text = str(refusal.value)
    assert ISSUER in text
    assert not any(key.jwk.get(part, "-none-") in text for key in (ED, RSA, EC) for part in ("x", "n", "kid"))
    assert refusal.value.__cause__ is None
    return text


def remote(url: str, web: Web | None = None, *, development: bool = False) -> IssuerKeys:
    """The keys of an issuer at an address."""
    return IssuerKeys(Issuer(ISSUER, AUDIENCE, ALGORITHMS, jwks_url=url), web or Web(), development=development)


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ""},
        {"audience": ""},
        {"algorithms": ()},
        {"algorithms": ("none",)},
        {"algorithms": ("HS256",)},
        {"algorithms": ("EdDSA", "HS256")},
        {"algorithms": ("PS256",)},
        {"jwks_url": "https://issuer.test/keys"},
        {"jwks_file": None},
    ],
)
def test_wrong_configuration(wrong: dict[str, Any]) -> None:
    """An issuer without a name, an audience, a public-key algorithm or exactly one place for keys is refused."""
    right: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ALGORITHMS,
        "jwks_file": Path("keys.json"),
    }
    assert Issuer(**right).issuer == ISSUER
    with pytest.raises(UnsafeIssuer):
        Issuer(**{**right, **wrong})


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/keys",
        "http://127.0.0.1/keys",
        "file:///etc/passwd",
        "ftp://issuer.test/keys",
        "https:///keys",
        "https://user:secret@issuer.test/keys",
        "issuer.test/keys",
        "https://[::1/keys",
        "",
    ],
)
def test_addresses_refused_in_production(url: str) -> None:
    """Keys come over https, from an address without credentials; what is wrong is said without the address."""
    with pytest.raises(UnsafeIssuer) as refusal:
        remote(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/keys", "http://localhost.issuer.test/keys", "http://127.0.0.1@issuer.test/", "file:///keys"],
)
def test_addresses_refused_in_development(url: str) -> None:
    """Plain http never leaves this machine."""
    with pytest.raises(UnsafeIssuer):
        remote(url, development=True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/keys", "http://localhost/keys", "http://[::1]/k", "https://a.test/k"]
)
def test_addresses_allowed_in_development(url: str) -> None:
    """Plain http to this very machine is allowed in development; making the object asks nobody."""
    assert not remote(url, development=True).keys


def test_address_without_anything_to_fetch_it() -> None:
    """An address needs a way to fetch it, which is said at the start and not at the first refresh."""
    with pytest.raises(UnsafeIssuer):
        IssuerKeys(Issuer(ISSUER, AUDIENCE, ALGORITHMS, jwks_url="https://issuer.test/keys"))


def test_missing_file(tmp_path: Path) -> None:
    """A key file that is not there stops the start."""
    with pytest.raises(UnsafeIssuer, match="cannot read"):
        IssuerKeys(Issuer(ISSUER, AUDIENCE, ALGORITHMS, jwks_file=tmp_path / "none.json"))


# --- key sets --------------------------------------------------------------------------------------------------------


def test_good_key_set() -> None:
    """Keys of all three kinds are found by name, whatever their order, each bound to its one algorithm."""
    for order in ((ED, RSA, EC), (EC, ED, RSA)):
        keys = load_jwks(jwks(*order), TRUSTED)
        assert {kid: key.algorithm_name for kid, key in keys.items()} == {f"{name}-1": name for name in ALGORITHMS}


@pytest.mark.parametrize("key", [ED, RSA, EC])
def test_optional_members(key: Any) -> None:
    """`alg` and `use` may be absent, `key_ops` may say `verify`, and unknown members do not matter."""
    bare = {name: value for name, value in key.jwk.items() if name not in {"alg", "use"}}
    operations = ({**bare, "key_ops": ["verify"]}, {**bare, "key_ops": ["sign", "verify"]})
    for jwk in (bare, *operations, {**key.jwk, "note": 1}):
        assert list(load_jwks(jwks(jwk), TRUSTED)) == [key.jwk["kid"]]


@pytest.mark.parametrize(
    "other",
    [
        {"use": "enc"},
        {"use": "SIG"},
        {"use": None},
        {"use": ["sig"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": None},
        {"alg": "PS256"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"kty": "EC"},
        {"kty": "DSA"},
        {"kty": None},
        {"kty": ["RSA"]},
        {"crv": "P-256"},
        {"crv": ["P-256"]},
    ],
)
def test_keys_for_something_else(other: dict[str, Any]) -> None:
    """A key marked for another use, operation, algorithm or type is passed over; alone it makes the set unusable."""
    marked = {**RSA.jwk, **other}
    assert list(load_jwks(jwks(marked, ED), TRUSTED)) == [ED.jwk["kid"]]
    assert "no key for" in refused(jwks(marked))


def test_curves_we_do_not_use() -> None:
    """Another curve is another algorithm."""
    assert "no key for" in refused(jwks(signing_key("ES384")))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_that_are_not_configured(algorithm: str) -> None:
    """Only keys for configured algorithms are kept."""
    narrow = Issuer(ISSUER, AUDIENCE, (algorithm,), jwks_file=Path("unused"))
    assert list(load_jwks(jwks(RSA, EC, ED), narrow)) == [f"{algorithm}-1"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_private_key_in_the_set(algorithm: str) -> None:
    """An issuer that shows a private key has lost it: nothing in the set can be trusted."""
    private = {**PRIVATE[algorithm](), "kid": "leaked"}
    assert "symmetric or private" in refused(jwks(signing_key(algorithm), private))
    for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k"):
        assert "symmetric or private" in refused(jwks({**ED.jwk, member: ""}))


def test_symmetric_key_in_the_set() -> None:
    """A shared secret has no place in a public key set, whatever it is marked for."""
    secret = {"kty": "oct", "kid": "secret", "k": encode(bytes(32)), "alg": "HS256"}
    assert "symmetric or private" in refused(jwks(ED, secret))
    assert "symmetric or private" in refused(jwks(ED, {"kty": "oct", "kid": "secret", "use": "enc"}))


@pytest.mark.parametrize("kid", [None, "", 1, ["a"], "x" * 256])
def test_keys_need_names(kid: Any) -> None:
    """Every key has a name, so that none has to be guessed."""
    assert "`kid`" in refused(jwks(ED, {**RSA.jwk, "kid": kid}))
    assert "`kid`" in refused(jwks({name: value for name, value in ED.jwk.items() if name != "kid"}))


def test_one_name_for_two_keys() -> None:
    """Two keys of one name are refused, even when one of them is for something else."""
    assert "same `kid`" in refused(jwks(ED, {**RSA.jwk, "kid": ED.jwk["kid"]}))
    assert "same `kid`" in refused(jwks({**RSA.jwk, "kid": ED.jwk["kid"], "use": "enc"}, ED))
    assert "same `kid`" in refused(jwks(ED, ED))


@pytest.mark.parametrize("bits", [1024, 2040])
def test_weak_rsa_key(bits: int) -> None:
    """An RSA key below 2,048 bits refuses the set."""
    assert "2048" in refused(jwks(ED, signing_key("RS256", "weak", bits)))


def test_endless_rsa_key() -> None:
    """A modulus of absurd size would make each verification slow."""
    assert "8192" in refused(jwks({**RSA.jwk, "n": encode(b"\xff" * 1025)}))


@pytest.mark.parametrize("exponent", [b"\x00", b"\x01", b"\x02", b"\x01\x00\x00"])
def test_rsa_exponent_that_proves_nothing(exponent: bytes) -> None:
    """With exponent 1 every message signs itself; even exponents are no RSA at all."""
    assert "malformed" in refused(jwks({**RSA.jwk, "e": encode(exponent)}))


def test_modulus_of_the_broken_generator() -> None:
    """A modulus that is a power of 65537 modulo the fingerprint's primes is refused (ROCA, CVE-2017-15361)."""
    primorial = 1
    for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97):
        primorial *= prime
    for prime in (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167):
        primorial *= prime
    modulus = primorial * (1 << (2047 - primorial.bit_length() + 1)) + pow(65537, 12345, primorial)
    octets = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    assert 2048 <= modulus.bit_length() <= 2049
    assert "ROCA" in refused(jwks({**RSA.jwk, "n": encode(octets)}))


@pytest.mark.parametrize(
    "wrong",
    [
        {**EC.jwk, "y": EC.jwk["x"]},
        {**EC.jwk, "x": encode(bytes(32)), "y": encode(bytes(32))},
        {**EC.jwk, "x": EC.jwk["x"][:-4]},
        {**ED.jwk, "x": ED.jwk["x"][:-4]},
        {**ED.jwk, "x": "!"},
        {**ED.jwk, "x": 1},
        {**RSA.jwk, "n": None},
        {**RSA.jwk, "n": "!"},
        {name: value for name, value in RSA.jwk.items() if name != "e"},
        {name: value for name, value in ED.jwk.items() if name != "x"},
    ],
)
def test_malformed_key(wrong: dict[str, Any]) -> None:
    """A key that claims to be for us and cannot be read refuses the set."""
    assert "malformed" in refused(jwks(signing_key("EdDSA", "good"), wrong))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[null]}',
        b'{"keys":["key"]}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        b"<html>",
        b"[" * 100_000,
        jwks(ED)[:-1],
        jwks(*[{**ED.jwk, "kid": str(number)} for number in range(MAX_JWKS_KEYS + 1)]),
        jwks(ED) + b" " * MAX_JWKS_OCTETS,
    ],
    ids=range(16),
)
def test_malformed_set(octets: bytes) -> None:
    """A set that is not strict JSON of a sane size, with a list of objects in it, is refused."""
    assert "key set refused" in refused(octets)


# --- refreshing ------------------------------------------------------------------------------------------------------


async def test_file_is_read_again_only_when_touched(tmp_path: Path) -> None:
    """A refresh reads a changed file, says so, and leaves an unchanged one alone."""
    trusted = issuer(tmp_path, ED)
    keys = IssuerKeys(trusted)
    before = keys.keys
    assert not await keys.refresh()
    assert keys.keys is before
    assert trusted.jwks_file is not None
    trusted.jwks_file.write_bytes(jwks(ED, RSA))
    assert await keys.refresh()
    assert set(keys.keys) == {"EdDSA-1", "RS256-1"}


async def test_file_with_the_same_keys_in_other_words(tmp_path: Path) -> None:
    """A file that was written again without any change of keys changes nothing."""
    trusted = issuer(tmp_path, ED)
    keys = IssuerKeys(trusted)
    assert trusted.jwks_file is not None
    trusted.jwks_file.write_text(json.dumps({"keys": [ED.jwk], "comment": "again"}))
    assert not await keys.refresh()


@pytest.mark.parametrize("damage", [b"{", b"", b'{"keys":[]}', b"gone"])
async def test_damaged_file_keeps_the_keys(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A bad or missing file is logged, keeps the keys that were good, and is read again once it is mended."""
    trusted = issuer(tmp_path, ED)
    keys = IssuerKeys(trusted)
    assert trusted.jwks_file is not None
    if damage == b"gone":
        trusted.jwks_file.unlink()
    else:
        trusted.jwks_file.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert not await keys.refresh()
    assert ISSUER in caplog.text
    assert list(keys.keys) == ["EdDSA-1"]
    trusted.jwks_file.write_bytes(jwks(RSA))
    os.utime(trusted.jwks_file, ns=(1, 1))
    assert await keys.refresh()
    assert list(keys.keys) == ["RS256-1"]


async def test_address_is_asked_by_refresh_only() -> None:
    """Keys come with the first refresh; until then the issuer's tokens are refused and the verifier is not ready."""
    web = Web(jwks(ED))
    verifying = TokenVerifier([remote("https://issuer.test/keys?v=1", web)])
    assert not verifying.ready
    await verifying.refresh()
    assert verifying.ready
    assert verifying.verify(bearer(ED)).subject == "u-0042"
    assert web.asked == [("https://issuer.test/keys?v=1", MAX_JWKS_OCTETS)]


@pytest.mark.parametrize(
    "failure",
    [OSError("no route"), TimeoutError(), b"<html>", jwks(ED, ED), b"x" * (MAX_JWKS_OCTETS + 1)],
    ids=range(5),
)
async def test_failed_fetch_keeps_the_keys(failure: bytes | Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An issuer that is away, or answers nonsense, does not lock everybody out; the next good answer counts."""
    keys = remote("https://issuer.test/keys", Web(jwks(ED), failure, jwks(RSA)))
    assert await keys.refresh()
    with caplog.at_level(logging.WARNING):
        assert not await keys.refresh()
    assert ISSUER in caplog.text
    assert list(keys.keys) == ["EdDSA-1"]
    assert await keys.refresh()
    assert list(keys.keys) == ["RS256-1"]


async def test_one_issuer_away_does_not_disturb_another(tmp_path: Path) -> None:
    """Each issuer is refreshed on its own."""
    away = IssuerKeys(Issuer("https://away.test", AUDIENCE, ALGORITHMS, jwks_url="https://away.test/k"), Web(OSError()))
    verifying = TokenVerifier([away, IssuerKeys(issuer(tmp_path, ED))])
    await verifying.refresh()
    assert verifying.verify(bearer(ED)).subject == "u-0042"
    assert not verifying.ready


def test_keys_cannot_be_slipped_in() -> None:
    """The mapping of keys is read-only."""
    keys = load_jwks(jwks(ED), TRUSTED)
    with pytest.raises(TypeError):
        keys["mine"] = keys["EdDSA-1"]  # type: ignore[index]  # that is the point
    assert isinstance(keys["EdDSA-1"].key, ed25519.Ed25519PublicKey)
