"""Root keys in environment variables: what is read, what is refused, and who has to rotate."""

import base64

import pytest

from crm.crypto.environment import EnvironmentKeys
from crm.errors import KeyUnavailable, Unsafe

CONTEXT = {"app": "heed", "env": "test", "purpose": "wrap", "use": "contact", "no": "1"}
ONE, TWO = (base64.b64encode(bytes((octet,)) * 32).decode() for octet in (1, 2))


def test_reference_is_a_known_fingerprint() -> None:
    """The id of a key is fixed by its octets: stored rows name it, in whatever order the keys are written."""
    (ref,) = EnvironmentKeys({"contact": ONE}).roots("contact")
    assert ref == "contact-ad7de92db82339f0"
    assert EnvironmentKeys({"contact": f"{TWO}, {ONE}"}).roots("contact")[0] == ref
    assert EnvironmentKeys({"contact": f"{ONE},{TWO}"}).roots("contact")[-1] == ref


def test_removed_key_is_unavailable() -> None:
    """A key that was taken out of its variable opens nothing any more; the others do."""
    old = EnvironmentKeys({"contact": ONE}).wrap(b"k", CONTEXT)
    assert EnvironmentKeys({"contact": f"{TWO},{ONE}"}).unwrap(old, CONTEXT) == b"k"
    with pytest.raises(KeyUnavailable):
        EnvironmentKeys({"contact": TWO}).unwrap(old, CONTEXT)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"contact": "c2VjcmV0"}, "key 1 of HEED_ROOT_KEY_CONTACT does not have 32 octets"),
        ({"contact": f"{ONE},{ONE[:-4]}"}, "key 2 of HEED_ROOT_KEY_CONTACT does not have 32 octets"),
        ({"log": base64.b64encode(bytes(32)).decode()}, "key 1 of HEED_ROOT_KEY_LOG does not have 32 octets"),
        ({"log": "hunter2!"}, "key 1 of HEED_ROOT_KEY_LOG is not base64"),
        ({"log": f"{ONE},"}, "key 2 of HEED_ROOT_KEY_LOG does not have 32 octets"),
        ({"log": f"{ONE},{ONE}"}, "the same key"),
        ({"log": ONE, "contact": ONE}, "the same key"),
    ],
)
def test_faults_are_named_without_the_text(values: dict[str, str], said: str) -> None:
    """Each fault is told by its variable and place, with what to do, and no key is repeated."""
    with pytest.raises(Unsafe, match=said) as refusal:
        EnvironmentKeys(values)
    assert "openssl rand -base64 32" in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert not any(text in str(refusal.value) for value in values.values() for text in value.split(",") if text)


def test_changes_are_the_owners() -> None:
    """The process cannot change its environment, and says which variable to write and how."""
    keys = EnvironmentKeys({"contact": f"{TWO},{ONE}"})
    for attempt in (lambda: keys.rotate("contact"), lambda: keys.destroy(keys.roots("contact")[0])):
        with pytest.raises(Unsafe, match=r"by hand.*HEED_ROOT_KEY_CONTACT"):
            attempt()
