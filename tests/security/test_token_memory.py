"""A token touches nothing but memory, and what is remembered of a good one is small and short-lived."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from auth import tokens
from auth.errors import PurposeNotPermitted
from auth.issuers import Issuer, IssuerKeys
from auth.purposes import Purpose
from auth.tokens import LEEWAY, TokenVerifier
from tests.security.signing import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    SigningKey,
    bearer,
    issuer,
    jwks,
    refusal,
    signing_key,
    verifier,
)

ED = signing_key("EdDSA")


# --- nothing but memory ----------------------------------------------------------------------------------------------

_TOUCHED: list[str] | None = None


def _note(event: str, _: tuple[Any, ...]) -> None:
    if _TOUCHED is not None and event.startswith(("open", "socket.", "urllib.", "subprocess.", "os.", "import")):
        _TOUCHED.append(event)


sys.addaudithook(_note)


@contextmanager
def touched() -> Iterator[list[str]]:
    """The files, sockets and processes that the interpreter touches meanwhile."""
    global _TOUCHED  # noqa: PLW0603 - an audit hook cannot be removed, only silenced
    _TOUCHED = []
    try:
        yield _TOUCHED
    finally:
        _TOUCHED = None


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and who connected to it."""
    hits: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                hits.append(str(address))
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/keys", hits
        finally:
            stop.set()
            thread.join()


def test_a_token_causes_no_reading_or_fetching(trusting: TokenVerifier, tmp_path: Path) -> None:
    """Whatever address or path a token names, in its header or claims, nothing is opened and nobody is called."""
    own = tmp_path / "own.json"
    own.write_bytes(jwks(signing_key("EdDSA", "stranger")))
    with listener() as (address, hits):
        places = (address, own.as_uri(), str(own), "/dev/urandom")
        headers: list[dict[str, Any]] = [{name: place} for name in ("jku", "x5u", "kid") for place in places]
        headers += [{"jwk": ED.jwk}, {"x5c": [address]}]
        attempts = [bearer(ED, header) for header in headers] + [bearer(ED, iss=address), bearer(ED, aud=address)]
        assert trusting.verify(bearer(ED)).subject  # whatever is imported late is imported now
        with touched() as seen:
            for attempt in attempts:
                refusal(trusting, attempt)
        assert seen == []
        assert hits == []
        socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)).close()
        while not hits:  # the listener does hear those who call
            time.sleep(0.01)


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_remembered_token_expires(trusting: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was good once is refused as soon as it has expired."""
    header = bearer(ED)
    expires = trusting.verify(header).expires_at
    monkeypatch.setattr(time, "time", lambda: expires + LEEWAY + 0.0)
    assert refusal(trusting, header) == "expired"


def test_refused_tokens_are_not_remembered(trusting: TokenVerifier) -> None:
    """Only good tokens take up memory."""
    for _ in range(3):
        refusal(trusting, bearer(ED, aud="other"))
    assert trusting._remembered == {}


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest token makes room for the newest, and is verified again when it returns."""
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 3)
    verifying = verifier(tmp_path, ED)
    headers = [bearer(ED) for _ in range(5)]
    for header in (*headers, *headers):
        assert verifying.verify(header).subject
        assert len(verifying._remembered) <= 3


def test_no_token_is_kept(trusting: TokenVerifier) -> None:
    """What is remembered holds the digest of a token, not the token."""
    header = bearer(ED)
    trusting.verify(header)
    token = header.removeprefix("Bearer ")
    assert sha256(token.encode()).digest() in trusting._remembered
    assert token not in repr(vars(trusting))


def test_purposes_of_one_token_are_kept_apart(trusting: TokenVerifier) -> None:
    """Each request acts for the purpose that it states itself, whatever others with the same token stated before."""
    header = bearer(ED)
    own = trusting.verify(header)
    treating, asking = trusting.verify(header, "TREAT"), trusting.verify(header, "PATADMIN")
    assert (treating.purpose, asking.purpose) == (Purpose.TREAT, Purpose.PATADMIN)
    assert trusting.verify(header) == own
    assert trusting.verify(header, "TREAT") is treating
    for code in ("treat", "", "NOSUCH"):
        with pytest.raises(PurposeNotPermitted):
            trusting.verify(header, code)
    [verified] = trusting._remembered.values()
    assert verified.acting.keys() <= set(Purpose)


async def test_withdrawn_key_ends_its_tokens(tmp_path: Path) -> None:
    """When an issuer withdraws a key, tokens of that key are refused from the next refresh on, remembered or not."""
    leaving, staying = signing_key("EdDSA", "leaving"), signing_key("EdDSA", "staying")
    trusted = issuer(tmp_path, leaving, staying)
    verifying = TokenVerifier([IssuerKeys(trusted)])
    header = bearer(leaving)
    assert verifying.verify(header).subject
    assert trusted.jwks_file is not None
    trusted.jwks_file.write_bytes(jwks(staying))
    assert verifying.verify(header).subject
    await verifying.refresh()
    assert refusal(verifying, header) == "key"
    assert verifying.verify(bearer(staying)).subject


async def test_replaced_key_ends_its_tokens(tmp_path: Path) -> None:
    """The same holds when another key takes the old one's name."""
    old, new = signing_key("EdDSA", "one"), signing_key("EdDSA", "two")
    trusted = issuer(tmp_path, old)
    verifying = TokenVerifier([IssuerKeys(trusted)])
    header = bearer(old)
    assert verifying.verify(header).subject
    assert trusted.jwks_file is not None
    trusted.jwks_file.write_bytes(jwks(SigningKey("EdDSA", new.private, {**new.jwk, "kid": "one"})) + b" ")
    await verifying.refresh()
    assert refusal(verifying, header) == "signature"


async def test_keys_are_kept_fresh() -> None:
    """The timer picks up a new key without any token asking for it, and ends when it is cancelled."""
    old, new = signing_key("EdDSA", "one"), signing_key("EdDSA", "two")
    sets, served_all = [jwks(old), jwks(old, new)], asyncio.Event()

    async def fetch(url: str, limit: int) -> bytes:
        if len(sets) == 1:
            served_all.set()
            return sets[0]
        return sets.pop(0)

    trusted = Issuer(ISSUER, AUDIENCE, ALGORITHMS, jwks_url="https://issuer.test/keys")
    verifying = TokenVerifier([IssuerKeys(trusted, fetch)])
    assert refusal(verifying, bearer(new)) == "key"
    timer = asyncio.create_task(verifying.keep_fresh(every=0.001))
    await served_all.wait()
    await asyncio.sleep(0)  # the timer's own refresh ends first
    assert verifying.verify(bearer(new)).subject == "u-0042"
    timer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await timer
