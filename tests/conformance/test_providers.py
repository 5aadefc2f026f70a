"""One suite for all providers of root keys: whoever keeps them, the same is promised and the same is refused."""

import copy
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from crm.crypto.provider import USES, KeyProvider, Wrapped
from crm.errors import CrmError, KeyUnavailable, Tampered, Unsafe
from tests.openbao import OpenBao, running
from tests.root_keys import Place, opened

KINDS = ("keyring", "env", "vault", "aws-kms")
CONTEXT = {"app": "heed", "env": "test", "purpose": "wrap", "use": "contact", "no": "1"}
KEY = bytes(range(33))


@pytest.fixture(scope="module")
def bao() -> Iterator[Callable[[], OpenBao]]:
    """Starts OpenBao when it is first asked for."""
    stack = running()
    started = cache(stack.__enter__)
    yield started
    if started.cache_info().currsize:
        stack.__exit__(None, None, None)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, bao: Callable[[], OpenBao]) -> Iterator[Place]:
    """A place of each kind, with a root key for every use."""
    with opened(request.param, tmp_path, bao) as made:
        yield made


@pytest.fixture
def provider(place: Place) -> KeyProvider:
    """A provider of each kind."""
    return place.provider()


def _changed(wrapped: Wrapped, blob: bytes) -> Wrapped:
    return Wrapped(wrapped.provider, wrapped.key_ref, blob)


def test_e36_round_trip(place: Place, provider: KeyProvider) -> None:
    """What one process wraps another unwraps, under the newest root; no two wraps are alike."""
    for key in (b"\x00", KEY, bytes(64)):
        wrapped = provider.wrap(key, CONTEXT)
        assert place.provider().unwrap(wrapped, CONTEXT) == key
        assert key not in wrapped.blob or key == b"\x00"
    assert (wrapped.provider, wrapped.key_ref) == (provider.name, provider.roots("contact")[-1])
    assert provider.wrap(KEY, CONTEXT).blob != provider.wrap(KEY, CONTEXT).blob


def test_e36_every_use_has_a_key_of_its_own(provider: KeyProvider) -> None:
    """There is one root key for each use, and no two uses share one."""
    assert provider.uses() == frozenset(USES)
    roots = [provider.roots(use) for use in USES]
    assert [len(refs) for refs in roots] == [1] * len(USES)
    assert len({ref for refs in roots for ref in refs}) == len(USES)
    provider.probe()


@pytest.mark.parametrize("name", ["app", "env", "purpose", "no"])
def test_e36_other_context_is_refused(provider: KeyProvider, name: str) -> None:
    """A wrapped key opens in the context in which it was wrapped: each member counts, and so does a missing one."""
    wrapped = provider.wrap(KEY, CONTEXT)
    others = [CONTEXT | {name: CONTEXT[name] + "1"}, {k: v for k, v in CONTEXT.items() if k != name}]
    for context in others:
        for attempt in (provider.unwrap, provider.rewrap):
            with pytest.raises(Tampered):
                attempt(wrapped, context)


def test_e36_key_of_another_use_is_refused(provider: KeyProvider) -> None:
    """A key wrapped for one use is not opened for another, whichever reference it bears."""
    contact, identity = CONTEXT, CONTEXT | {"use": "identity"}
    wrapped = provider.wrap(KEY, identity)
    for forged in (wrapped, Wrapped(wrapped.provider, provider.roots("contact")[-1], wrapped.blob)):
        for attempt in (provider.unwrap, provider.rewrap):
            with pytest.raises(Tampered):
                attempt(forged, contact)


def test_e36_every_flipped_bit_is_refused(place: Place, provider: KeyProvider) -> None:
    """No bit of a wrapped key can be changed."""
    wrapped = provider.wrap(KEY, CONTEXT)
    refused = 0
    for octet in place.sealed_part(wrapped.blob):
        for bit in range(8):
            flipped = bytearray(wrapped.blob)
            flipped[octet] ^= 1 << bit
            with pytest.raises(Tampered):
                provider.unwrap(_changed(wrapped, bytes(flipped)), CONTEXT)
            refused += 1
    assert refused >= 8 * (len(KEY) + 28)
    assert provider.unwrap(wrapped, CONTEXT) == KEY


def test_e36_every_other_length_is_refused(provider: KeyProvider) -> None:
    """Nothing can be cut from a wrapped key or added to it; nothing and too much are refused as well."""
    wrapped = provider.wrap(KEY, CONTEXT)
    others = [wrapped.blob[:end] for end in range(len(wrapped.blob))]
    for blob in [*others, wrapped.blob + b"\x00", wrapped.blob * 2, wrapped.blob * 1000]:
        with pytest.raises(Tampered):
            provider.unwrap(_changed(wrapped, blob), CONTEXT)


def test_e36_foreign_references_are_unavailable(provider: KeyProvider) -> None:
    """A reference to another provider's key, or to none, is not tried with the keys at hand."""
    wrapped = provider.wrap(KEY, CONTEXT)
    strange = (
        "",
        "contact",
        "../contact",
        "arn:aws:kms:eu-west-1:1:key/2",
        wrapped.key_ref + "0",
        wrapped.key_ref + "\n",
    )
    for foreign in (
        Wrapped("elsewhere", wrapped.key_ref, wrapped.blob),
        *(Wrapped(wrapped.provider, ref, wrapped.blob) for ref in strange),
    ):
        for attempt in (provider.unwrap, provider.rewrap):
            with pytest.raises(KeyUnavailable) as refusal:
                attempt(foreign, CONTEXT)
            assert type(refusal.value) is KeyUnavailable


def test_e36_rotation_keeps_what_was_wrapped(place: Place, provider: KeyProvider) -> None:
    """After a rotation the new root is the newest and wraps; the old one still opens; other uses are as they were."""
    old, (index,) = provider.wrap(KEY, CONTEXT), provider.roots("index")
    place.rotate("contact")
    place.rotate("contact")
    after = place.provider()
    assert after.roots("contact")[0] == old.key_ref
    assert len(set(after.roots("contact"))) == 3
    assert after.wrap(KEY, CONTEXT).key_ref == after.roots("contact")[-1]
    assert after.unwrap(old, CONTEXT) == KEY
    assert list(after.roots("index")) == [index]


def test_e36_rewrap_moves_a_key_to_the_newest_root(place: Place, provider: KeyProvider) -> None:
    """A rewrapped key is under the newest root and opens in the same context only."""
    old = provider.wrap(KEY, CONTEXT)
    place.rotate("contact")
    after = place.provider()
    new = after.rewrap(old, CONTEXT)
    assert (new.provider, new.key_ref) == (old.provider, after.roots("contact")[-1])
    assert new.blob != old.blob
    assert after.unwrap(new, CONTEXT) == KEY
    with pytest.raises(Tampered):
        after.unwrap(new, CONTEXT | {"no": "2"})
    with pytest.raises(Tampered):
        after.rewrap(_changed(old, old.blob[:-1] + bytes((old.blob[-1] ^ 1,))), CONTEXT)


def test_e36_destroyed_root_opens_nothing(place: Place, provider: KeyProvider) -> None:
    """What stayed under a destroyed root is refused as such; what was rewrapped opens; the root is listed no more."""
    old = provider.wrap(KEY, CONTEXT)
    place.rotate("contact")
    new = place.provider().rewrap(old, CONTEXT)
    place.destroy(old.key_ref)
    after = place.provider()
    for attempt in (after.unwrap, after.rewrap):
        with pytest.raises(KeyUnavailable) as refusal:
            attempt(old, CONTEXT)
        assert type(refusal.value) is place.gone
    assert after.unwrap(new, CONTEXT) == KEY
    assert list(after.roots("contact")) == [new.key_ref]


def test_e36_newest_root_is_not_destroyed(place: Place, provider: KeyProvider) -> None:
    """The root under which keys are wrapped stays, and so does what is under it."""
    wrapped = provider.wrap(KEY, CONTEXT)
    for _ in range(2):
        with pytest.raises(Unsafe):
            provider.destroy(provider.roots("contact")[-1])
        assert place.provider().unwrap(wrapped, CONTEXT) == KEY
        place.rotate("contact")
        provider = place.provider()


@pytest.mark.parametrize(
    "strange", ["", "contact", "heed-test-contact:v0", "heed-test-contact-0", "heed-live-contact-1"]
)
def test_e36_what_is_no_root_is_not_destroyed(provider: KeyProvider, strange: str) -> None:
    """A slip in a reference destroys nothing, and says so."""
    before = [list(provider.roots(use)) for use in USES]
    with pytest.raises(Unsafe):
        provider.destroy(strange)
    assert [list(provider.roots(use)) for use in USES] == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "env"])
def test_e36_destruction_says_when(kind: str, tmp_path: Path, bao: Callable[[], OpenBao]) -> None:
    """The time is that from which on nobody can use the key; asked again, the destruction is the same and no error."""
    with opened(kind, tmp_path, bao) as place:
        provider = place.provider()
        (old,) = provider.roots("contact")
        provider.rotate("contact")
        first, now = provider.destroy(old), time.time_ns() // 1000
        again = place.provider().destroy(old)
    assert first.key_ref == again.key_ref == old
    waits = 7 * 86_400 * 1_000_000 if kind == "aws-kms" else 0
    assert abs(first.at - waits - now) < 60_000_000
    assert abs(again.at - first.at) < 60_000_000


def test_e36_older_root_can_be_destroyed_after_a_newer_one_came(place: Place, provider: KeyProvider) -> None:
    """With three roots, the middle stays usable when the oldest is destroyed."""
    place.rotate("contact")
    middle = place.provider().wrap(KEY, CONTEXT)
    place.rotate("contact")
    place.destroy(provider.roots("contact")[0])
    after = place.provider()
    assert after.unwrap(middle, CONTEXT) == KEY
    assert len(after.roots("contact")) == 2


def test_e36_given_uses_are_all_that_a_process_has(place: Place, provider: KeyProvider) -> None:
    """A process that was given some uses has no root key for the others, whatever it asks."""
    wrapped = provider.wrap(KEY, CONTEXT)
    part = place.provider("identity", "preference")
    assert part.uses() == {"identity", "preference"}
    assert part.wrap(KEY, CONTEXT | {"use": "identity"}).key_ref == part.roots("identity")[-1]
    for attempt in (
        lambda: part.wrap(KEY, CONTEXT),
        lambda: part.unwrap(wrapped, CONTEXT),
        lambda: part.rewrap(wrapped, CONTEXT),
        lambda: part.roots("contact"),
    ):
        with pytest.raises(KeyUnavailable) as refusal:
            attempt()
        assert type(refusal.value) is KeyUnavailable


@pytest.mark.parametrize("kind", KINDS)
def test_e36_missing_uses_are_unavailable_until_they_are_founded(
    kind: str, tmp_path: Path, bao: Callable[[], OpenBao]
) -> None:
    """A use without a root key is not had; founding makes the missing ones only, and cannot where the owner must."""
    with opened(kind, tmp_path, bao, ["identity", "contact"]) as place:
        provider = place.provider()
        assert provider.uses() == {"identity", "contact"}
        before = list(provider.roots("contact"))
        for attempt in (lambda: provider.wrap(KEY, CONTEXT | {"use": "log"}), lambda: provider.roots("log")):
            with pytest.raises(KeyUnavailable):
                attempt()
        provider.found(["identity"])
        if kind == "env":
            with pytest.raises(Unsafe, match="HEED_ROOT_KEY_LOG is empty"):
                provider.found(["contact", "log"])
        else:
            provider.found(["contact", "log"])
            provider.found(["log"])
            assert provider.uses() == {"identity", "contact", "log"}
            assert len(provider.roots("log")) == 1
        assert list(provider.roots("contact")) == before


def test_e36_provider_shows_nothing(place: Place, provider: KeyProvider) -> None:
    """Neither representation nor pickle nor copy lets anything out; what it wrapped shows no octets."""
    assert f"{provider!r} {provider} {[provider]}" == "*** *** [***]"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(provider)
    assert "blob" not in repr(provider.wrap(KEY, CONTEXT))


def test_e36_refusals_show_nothing(place: Place, provider: KeyProvider) -> None:
    """No refusal, nor what led to it, says a key, a token or a credential."""
    wrapped = provider.wrap(KEY, CONTEXT)
    attempts: list[Callable[[], object]] = [
        lambda: provider.unwrap(wrapped, CONTEXT | {"no": "2"}),
        lambda: provider.unwrap(_changed(wrapped, b""), CONTEXT),
        lambda: provider.unwrap(Wrapped(wrapped.provider, "x", b""), CONTEXT),
        lambda: provider.destroy(wrapped.key_ref),
        lambda: provider.destroy("x"),
    ]
    for attempt in attempts:
        with pytest.raises(CrmError) as refusal:
            attempt()
        assert refusal.value.__cause__ is None
        said = "".join(traceback.format_exception(refusal.value))
        assert [secret for secret in [*place.secrets(), KEY.hex()] if secret in said] == []


def test_e36_threads_may_share_a_provider(provider: KeyProvider) -> None:
    """Wrapping and unwrapping in several threads at once gives every thread its own key back."""

    def work(number: int) -> bool:
        key, context = bytes((number,)) * 33, CONTEXT | {"no": str(number)}
        return all(provider.unwrap(provider.wrap(key, context), context) == key for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
