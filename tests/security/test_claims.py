"""What a well-signed token may say: claims that are missing, wrong or harmful make the caller nobody."""

import time
from typing import Any

import pytest

from auth.errors import PurposeNotPermitted
from auth.purposes import Purpose
from auth.tokens import MAX_LIFETIME, TokenVerifier
from tests.security.signing import (
    AUDIENCE,
    ISSUER,
    bearer,
    claims,
    refusal,
    signing_key,
)

ED = signing_key("EdDSA")


# --- purposes --------------------------------------------------------------------------------------------------------


def test_purpose_of_the_request_wins(trusting: TokenVerifier) -> None:
    """`X-Purpose-Of-Use` overrides the token's purpose, for this request only."""
    header = bearer(ED)
    assert trusting.verify(header, "TREAT").purpose is Purpose.TREAT
    assert trusting.verify(header, None).purpose is Purpose.PATADMIN
    assert trusting.verify(bearer(ED, purpose_of_use="NONSENSE"), "TREAT").purpose is Purpose.TREAT


def test_no_purpose(trusting: TokenVerifier) -> None:
    """Without any purpose the actor has none; what that means is for the policy."""
    assert trusting.verify(bearer(ED, purpose_of_use=None)).purpose is None


@pytest.mark.parametrize("code", ["", "treat", "TREAT ", "TREAT, PATADMIN", "BREAK", "T\x00", "TREAT" * 100, "ТREAT"])
def test_unknown_purpose(trusting: TokenVerifier, code: str) -> None:
    """An unknown code is refused, and the refusal knows who asked, so that it can be recorded."""
    with pytest.raises(PurposeNotPermitted) as refused:
        trusting.verify(bearer(ED), code)
    assert refused.value.actor is not None
    assert refused.value.actor.subject == "u-0042"
    assert refused.value.actor.purpose is None
    assert not code or code not in str(refused.value)


def test_unknown_purpose_in_the_token(trusting: TokenVerifier) -> None:
    """The same holds for a code in the token when the request states none."""
    with pytest.raises(PurposeNotPermitted):
        trusting.verify(bearer(ED, purpose_of_use="NONSENSE"))


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "iat", "jti", "roles", "org"])
@pytest.mark.parametrize("absence", ["missing", "null"])
def test_missing_claim(trusting: TokenVerifier, name: str, absence: str) -> None:
    """Each required claim must be there, and null is not there."""
    body = claims()
    del body[name]
    if absence == "null":
        body[name] = None
    header = {"alg": "EdDSA", "kid": ED.jwk["kid"]}
    reason = {"iss": "issuer", "roles": "roles", "org": "org"}.get(name, "missing_claim")
    assert refusal(trusting, "Bearer " + ED.sign(header, body)) in {reason, "audience"}


@pytest.mark.parametrize("name", ["https://issuer.test/", "https://ISSUER.test", "http://issuer.test", "", 1, [ISSUER]])
def test_wrong_issuer(trusting: TokenVerifier, name: Any) -> None:
    """The issuer must match to the letter."""
    assert refusal(trusting, bearer(ED, iss=name)) == "issuer"


@pytest.mark.parametrize("name", ["heed", "heed-test ", "HEED-TEST", "", [], [AUDIENCE], [AUDIENCE, "other"], 1, {}])
def test_wrong_audience(trusting: TokenVerifier, name: Any) -> None:
    """The audience is exactly ours: a token for several services could be replayed between them."""
    assert refusal(trusting, bearer(ED, aud=name)) in {"audience", "missing_claim"}


@pytest.mark.parametrize("name", ["sub", "jti", "client_id", "purpose_of_use"])
@pytest.mark.parametrize(
    "value",
    ["", "a\x00b", "a\nb", "a\x1b[31mb", "a\u202eb", "a\u2028b", "a\x7fb", "\ud800", "x" * 256, 1, [], {}, False],
)
def test_claims_that_could_harm_a_log(trusting: TokenVerifier, name: str, value: Any) -> None:
    """Names that will stand in events hold no controls, no direction marks, no lone surrogates, and are not endless."""
    assert refusal(trusting, bearer(ED, **{name: value})) in {name, "malformed"}


@pytest.mark.parametrize("value", ["Иван Петров", "o'brien@example.test", "x" * 255, "auth0|5f7c8ec7c33c6c004bbafe82"])
def test_honest_subjects(trusting: TokenVerifier, value: str) -> None:
    """Subjects in any script, and as real issuers write them, are accepted."""
    assert trusting.verify(bearer(ED, sub=value)).subject == value


@pytest.mark.parametrize(
    "value", ["", "a b", "a/b", "..", "-a", "org\x00", "org\n", "x" * 65, "örg", 1, ["org-12"], "%"]
)
def test_wrong_organisation(trusting: TokenVerifier, value: Any) -> None:
    """An organisation is a short plain name."""
    assert refusal(trusting, bearer(ED, org=value)) == "org"


@pytest.mark.parametrize("value", ["", "a b", "a/b", "*", "x" * 65, "p\n", 1, ["p-1"]])
def test_wrong_patient(trusting: TokenVerifier, value: Any) -> None:
    """The record that a patient is bound to is a plain id."""
    assert refusal(trusting, bearer(ED, roles=["patient"], patient=value)) == "patient"


@pytest.mark.parametrize(
    "value",
    [[], "front_desk", {"front_desk": True}, ["admin"], ["FRONT_DESK"], [1], ["front_desk", 1], ["front_desk"] * 33, 1],
)
def test_wrong_roles(trusting: TokenVerifier, value: Any) -> None:
    """Roles are a short list of names, at least one of them ours, to the letter."""
    assert refusal(trusting, bearer(ED, roles=value)) == "roles"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["2000000000", 2e9, 1.5, True, -1, 2**33, 10**400, [], {}, "", float("inf")])
def test_times_are_whole_seconds(trusting: TokenVerifier, name: str, value: Any) -> None:
    """Times are integers within two centuries, whatever Python would make of other values."""
    assert refusal(trusting, bearer(ED, **{name: value})) in {name, "malformed", "expired", "not_yet_valid"}


def test_lifetime(trusting: TokenVerifier) -> None:
    """A token lives at most a day, and does not end before it begins."""
    now = int(time.time())
    assert trusting.verify(bearer(ED, iat=now - 100, exp=now - 100 + MAX_LIFETIME)).subject
    assert refusal(trusting, bearer(ED, iat=now - 100, exp=now - 99 + MAX_LIFETIME)) == "lifetime"
    assert refusal(trusting, bearer(ED, iat=now + 5, exp=now + 5)) == "lifetime"
    assert refusal(trusting, bearer(ED, iat=now + 9, exp=now + 5)) == "lifetime"


@pytest.mark.parametrize("use", ["id", "ID", "refresh", "", 1, ["access"]])
def test_tokens_for_another_use(trusting: TokenVerifier, use: Any) -> None:
    """An identity token proves who somebody is to a client, not what a client may ask of us."""
    assert refusal(trusting, bearer(ED, token_use=use)) == "token_use"
    assert trusting.verify(bearer(ED, token_use="access")).subject
