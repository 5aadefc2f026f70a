"""Attacks on bearer tokens before anything in them is believed: headers, algorithms, keys and signatures."""

import hmac
import json
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth.actor import Actor
from auth.issuers import IssuerKeys, UnsafeIssuer
from auth.policy import scope
from auth.purposes import Purpose
from auth.roles import Role
from auth.tokens import LEEWAY, MAX_TOKEN_CHARACTERS, TokenVerifier
from tests.security.signing import (
    ALGORITHMS,
    ISSUER,
    bearer,
    claims,
    encode,
    issuer,
    refusal,
    signing_key,
    verifier,
)

ED = signing_key("EdDSA")


# --- what is good ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_good_token(trusting: TokenVerifier, algorithm: str) -> None:
    """A good token of each algorithm becomes the actor it describes, again and again."""
    good = claims()
    key = signing_key(algorithm)
    header = "Bearer " + key.sign({"alg": algorithm, "kid": key.jwk["kid"]}, good)
    expected = Actor(
        subject="u-0042",
        issuer=ISSUER,
        org="org-12",
        roles=frozenset({Role.FRONT_DESK}),
        purpose=Purpose.PATADMIN,
        client_id="desk-web",
        token_id=good["jti"],
        patient_id=None,
        expires_at=good["exp"],
    )
    assert [trusting.verify(header, None) for _ in range(3)] == [expected] * 3


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_good_types(trusting: TokenVerifier, kind: str | None) -> None:
    """The registered types are accepted in any case, and so is a token without one."""
    assert trusting.verify(bearer(ED, {"typ": kind})).subject == "u-0042"


def test_header_members_without_meaning_are_ignored(trusting: TokenVerifier) -> None:
    """Issuers add harmless members such as a certificate's digest."""
    assert trusting.verify(bearer(ED, {"x5t": "c2hh", "x5t#S256": "c2hh"})).subject == "u-0042"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_in_any_case(trusting: TokenVerifier, scheme: str) -> None:
    """Authentication schemes are case-insensitive (RFC 9110, 11.1)."""
    assert trusting.verify(bearer(ED).replace("Bearer", scheme)).subject == "u-0042"


@pytest.mark.parametrize("role", ["patient", "proxy"])
def test_patient_of_a_personal_role(trusting: TokenVerifier, role: str) -> None:
    """A patient or proxy is bound to the record that the token names, or to none."""
    assert trusting.verify(bearer(ED, roles=[role], patient="0199c0de-1")).patient_id == "0199c0de-1"
    assert trusting.verify(bearer(ED, roles=[role])).patient_id is None


def test_patient_of_another_role_is_ignored(trusting: TokenVerifier) -> None:
    """Beside a staff role a `patient` claim binds to nothing: it says which record is the caller's own."""
    caller = trusting.verify(bearer(ED, patient="0199c0de-1"))
    assert (caller.patient_id, caller.own_record) == (None, "0199c0de-1")
    assert scope(caller) is None
    assert trusting.verify(bearer(ED, roles=["messaging"], patient="0199c0de-1")).own_record is None
    assert trusting.verify(bearer(ED, roles=["patient"], patient="0199c0de-1")).own_record is None


PLACE = {"postal_code": "LS1 1AA", "street_address": "17 Quay Street\nFlat 2"}


def test_staff_as_private_persons(trusting: TokenVerifier) -> None:
    """The family name and the first line of the address are taken from the standard claims, and shown in no repr."""
    caller = trusting.verify(bearer(ED, family_name="Okafor", address=PLACE))
    assert (caller.family_name, caller.postal_code, caller.street_address) == ("Okafor", "LS1 1AA", "17 Quay Street")
    assert not any(part in repr(caller) for part in ("Okafor", "LS1", "Quay"))
    program = trusting.verify(bearer(ED, roles=["integration"], family_name="Okafor", address=PLACE))
    assert (program.family_name, program.postal_code, program.street_address) == (None, None, None)


@pytest.mark.parametrize("value", [None, 7, "", [], {}, "x" * 256, "a\u202eb", "a\nb", "\ud800", "\0", True])
def test_malformed_facts_about_staff_are_passed_over(trusting: TokenVerifier, value: Any) -> None:
    """They permit nothing, and so shut nobody out; nor are they kept."""
    place = {"postal_code": value, "street_address": value if value != "a\nb" else "\n\n"}
    caller = trusting.verify(bearer(ED, patient=value, family_name=value, address=place))
    assert (caller.own_record, caller.family_name) == (None, None)
    assert (caller.postal_code, caller.street_address) == (None, None)
    assert trusting.verify(bearer(ED, address=value)).postal_code is None


def test_unknown_roles_are_passed_over(trusting: TokenVerifier) -> None:
    """Roles of other services do not matter as long as one of ours is there."""
    actor = trusting.verify(bearer(ED, roles=["admin", "clinician", "offline_access", "Front_Desk"]))
    assert actor.roles == {Role.CLINICIAN}


def test_clock_skew(trusting: TokenVerifier) -> None:
    """Clocks may differ by the leeway, in both directions, and not by more."""
    now = int(time.time())
    assert LEEWAY <= 60
    assert trusting.verify(bearer(ED, exp=now - LEEWAY + 10, iat=now - 100)).subject
    assert trusting.verify(bearer(ED, iat=now + LEEWAY - 10, nbf=now + LEEWAY - 10)).subject
    assert refusal(trusting, bearer(ED, exp=now - LEEWAY - 1, iat=now - 100)) == "expired"
    assert refusal(trusting, bearer(ED, iat=now + LEEWAY + 60, exp=now + 600)) == "not_yet_valid"
    assert refusal(trusting, bearer(ED, nbf=now + LEEWAY + 60)) == "not_yet_valid"


# --- the header of the request ---------------------------------------------------------------------------------------


def test_no_header(trusting: TokenVerifier) -> None:
    """No header, no actor."""
    assert refusal(trusting, None) == "missing"


@pytest.mark.parametrize(
    "template",
    [
        "",
        "Bearer",
        "Bearer ",
        "{token}",
        "Basic {token}",
        "Bearer  {token}",
        "Bearer\t{token}",
        " Bearer {token}",
        "Bearer {token} ",
        "Bearer {token}\n",
        "Bearer {token}, Bearer {token}",
        "Bearer {token} {token}",
        'Bearer "{token}"',
        "Bearer {token}.",
        "Bearer .{token}",
        "Bearer {token}=",
        "Bearer {token}\x00",
        "Bearer {token}é",
        "DPoP {token}",
    ],
)
def test_malformed_authorization(trusting: TokenVerifier, template: str) -> None:
    """One scheme, one space, one compact token of three parts: nothing else is looked at."""
    token = bearer(ED).removeprefix("Bearer ")
    assert refusal(trusting, template.format(token=token)) == "scheme"


def test_huge_token(trusting: TokenVerifier) -> None:
    """A token beyond the cap is refused by its length alone; one that just fits is still read."""
    assert refusal(trusting, "Bearer " + "A" * 10_000_000) == "length"
    assert refusal(trusting, bearer(ED, padding="x" * MAX_TOKEN_CHARACTERS)) == "length"
    assert trusting.verify(bearer(ED, padding="x" * 4096)).subject


# --- signatures, keys and algorithms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "none ", "", None, 0, [], ["EdDSA"], {"a": 1}, True])
@pytest.mark.parametrize("signature", ["", "AAAA", "real"])
def test_algorithm_none(trusting: TokenVerifier, name: Any, signature: str) -> None:
    """No spelling of `none`, and no other value that is no algorithm, gets past, signed or not."""
    message = (
        f"{encode(json.dumps({'alg': name, 'kid': ED.jwk['kid']}).encode())}.{encode(json.dumps(claims()).encode())}"
    )
    sealed = {"real": encode(ED.private.sign(message.encode()))}.get(signature, signature)
    assert refusal(trusting, f"Bearer {message}.{sealed}") in {"algorithm", "scheme"}


def test_missing_algorithm(trusting: TokenVerifier) -> None:
    """A header without `alg` is refused even when the signature is right."""
    assert refusal(trusting, bearer(ED, {"alg": None})) == "algorithm"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("claimed", ["HS256", "HS384", "HS512"])
def test_public_key_as_secret(trusting: TokenVerifier, algorithm: str, claimed: str) -> None:
    """A MAC keyed with any encoding of the public key is no signature."""
    key = signing_key(algorithm)
    public = key.private.public_key()
    encodings = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.jwk).encode(),
        b"",
    ]
    jose = {"alg": claimed, "kid": key.jwk["kid"]}
    message = f"{encode(json.dumps(jose).encode())}.{encode(json.dumps(claims()).encode())}"
    for secret in encodings:
        mac = hmac.digest(secret, message.encode(), claimed.replace("HS", "sha"))
        assert refusal(trusting, f"Bearer {message}.{encode(mac)}") == "algorithm"


@pytest.mark.parametrize("claimed", ["RS384", "RS512", "PS256"])
def test_another_algorithm_of_the_same_key_type(trusting: TokenVerifier, claimed: str) -> None:
    """An RSA key verifies RS256 and nothing else, however well the token is signed."""
    key = signing_key("RS256")
    token = key.sign({"alg": claimed, "kid": key.jwk["kid"]}, claims(), algorithm=claimed)
    assert refusal(trusting, f"Bearer {token}") == "algorithm"


@pytest.mark.parametrize(("algorithm", "other"), list(permutations(ALGORITHMS, 2)))
def test_kid_of_another_algorithm(trusting: TokenVerifier, algorithm: str, other: str) -> None:
    """A token that names a key of another algorithm is refused, whichever algorithm it claims."""
    key, kid = signing_key(algorithm), signing_key(other).jwk["kid"]
    assert refusal(trusting, bearer(key, {"kid": kid})) == "algorithm"
    token = key.sign({"alg": other, "kid": kid}, claims(), algorithm=algorithm)
    assert refusal(trusting, f"Bearer {token}") in {"signature", "malformed"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithm_that_the_issuer_may_not_use(tmp_path: Path, algorithm: str) -> None:
    """A key in the set is worth nothing when its algorithm is not configured."""
    allowed = tuple(name for name in ALGORITHMS if name != algorithm)
    verifying = verifier(tmp_path, *(signing_key(name) for name in ALGORITHMS), algorithms=allowed)
    assert refusal(verifying, bearer(signing_key(algorithm))) == "key"
    assert all(verifying.verify(bearer(signing_key(name))).subject for name in allowed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_altered_token(trusting: TokenVerifier, algorithm: str) -> None:
    """Any one octet changed in claims or signature is noticed."""
    head, body, signature = bearer(signing_key(algorithm)).split(".")
    wider = encode(json.dumps(claims(roles=["privacy_officer"])).encode())
    assert refusal(trusting, f"{head}.{wider}.{signature}") == "signature"
    for position in range(0, len(signature) - 1, 5):
        letter = "A" if signature[position] != "A" else "B"
        altered = signature[:position] + letter + signature[position + 1 :]
        assert refusal(trusting, f"{head}.{body}.{altered}") == "signature"
    for wrong in (signature[:-8], signature + "AAAA", "AAAA"):
        assert refusal(trusting, f"{head}.{body}.{wrong}") in {"signature", "malformed"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_key_that_nobody_trusts(trusting: TokenVerifier, algorithm: str) -> None:
    """A stranger's key is unknown under its own name, and wrong under a trusted one."""
    stranger = signing_key(algorithm, "stranger")
    assert refusal(trusting, bearer(stranger)) == "key"
    assert refusal(trusting, bearer(stranger, {"kid": signing_key(algorithm).jwk["kid"]})) == "signature"


@pytest.mark.parametrize(
    "kid",
    [None, "", "EdDSA-2", "eddsa-1", "EdDSA-1\x00", "../../etc/passwd", "' OR 1=1 --", "A" * 4000, 1, ["EdDSA-1"], {}],
)
def test_wrong_kid(trusting: TokenVerifier, kid: Any) -> None:
    """Only the exact name of a configured key finds one; there is no trying of all keys."""
    assert refusal(trusting, bearer(ED, {"kid": kid})) == "key"


def test_issuers_do_not_share_keys(tmp_path: Path) -> None:
    """A key proves tokens of its own issuer only, even when both use the same `kid`."""
    ours, theirs = signing_key("EdDSA", "shared"), signing_key("ES256", "shared")
    other = "https://other.test"
    verifying = TokenVerifier([IssuerKeys(issuer(tmp_path, ours)), IssuerKeys(issuer(tmp_path, theirs, name=other))])
    assert verifying.verify(bearer(ours)).issuer == ISSUER
    assert verifying.verify(bearer(theirs, iss=other)).issuer == other
    assert refusal(verifying, bearer(theirs)) == "algorithm"
    assert refusal(verifying, bearer(ours, iss=other)) == "algorithm"


def test_two_issuers_of_one_name(tmp_path: Path) -> None:
    """One issuer configured twice would make it unclear which keys count."""
    with pytest.raises(UnsafeIssuer):
        TokenVerifier([IssuerKeys(issuer(tmp_path, ED)), IssuerKeys(issuer(tmp_path, ED))])


def test_no_issuer_at_all() -> None:
    """A verifier without issuers refuses everybody, and says that it is not ready."""
    assert not TokenVerifier([]).ready
    assert refusal(TokenVerifier([]), bearer(ED)) == "issuer"


# --- the token's header ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"crit": ["https://example.test/extension"], "https://example.test/extension": 1},
        {"b64": False},
        {"b64": True},
        {"jku": "https://issuer.test/keys"},
        {"x5u": "https://issuer.test/certificate"},
        {"jwk": ED.jwk},
        {"x5c": ["MIIB"]},
    ],
)
def test_refused_header_members(trusting: TokenVerifier, member: dict[str, Any]) -> None:
    """Extensions and keys that a token brings along are refused although the signature is right."""
    assert refusal(trusting, bearer(ED, member)) == "header"


@pytest.mark.parametrize("kind", ["", "JWS", "dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "JWT ", 1, [], True])
def test_other_types(trusting: TokenVerifier, kind: Any) -> None:
    """A token made for another purpose is refused by its type (RFC 8725, 3.11)."""
    assert refusal(trusting, bearer(ED, {"typ": kind})) == "type"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{}x",
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"alg":"EdDSA"}',
        b'{"alg":"EdDSA","alg":"none"}',
        b'{"alg":NaN}',
        b"[" * 3000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"exp":' + b"9" * 5000 + b"}",
        '{"alg":"EdDSA"}'.encode("utf-16"),
    ],
)
def test_malformed_parts(trusting: TokenVerifier, text: bytes) -> None:
    """A header or body that is not one strict JSON object is refused."""
    good_header = {"alg": "EdDSA", "kid": ED.jwk["kid"]}
    assert refusal(trusting, "Bearer " + ED.sign(text, claims())) in {"malformed", "scheme", "key"}
    assert refusal(trusting, "Bearer " + ED.sign(good_header, text)) in {"malformed", "scheme", "issuer"}


def test_duplicate_names(trusting: TokenVerifier) -> None:
    """A member named twice is refused, so that no proxy before us reads another token than we do."""
    header = json.dumps({"alg": "EdDSA", "kid": ED.jwk["kid"]})
    body = json.dumps(claims())
    for name, value in (("alg", "EdDSA"), ("kid", ED.jwk["kid"]), ("typ", "JWT"), ("typ", "JWT")):
        doubled = f'{header[:-1]},"typ":"JWT","{name}":{json.dumps(value)}}}'.encode()
        assert refusal(trusting, "Bearer " + ED.sign(doubled, body.encode())) == "malformed"
    for name, value in claims().items():
        doubled = f'{body[:-1]},"{name}":{json.dumps(value)}}}'.encode()
        assert refusal(trusting, "Bearer " + ED.sign(header.encode(), doubled)) == "malformed"
