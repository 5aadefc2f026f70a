"""The Ed25519 of the offline program: the examples of RFC 8032, forgeries, and the library's judgement on the same."""

import hashlib
import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.offline import program

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493

EXAMPLES = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
"""RFC 8032, section 7.1, the short ones: public key, message, signature."""

SMALL = [
    (1).to_bytes(32, "little"),
    (PRIME - 1).to_bytes(32, "little"),
    bytes(32),
    (1 << 255).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
"""Points of order 1, 2, 4 and 8: as a key, each would take signatures that nobody made."""

UNCANONICAL = [
    (PRIME + 1).to_bytes(32, "little"),
    PRIME.to_bytes(32, "little"),
    ((1 << 255) + 1).to_bytes(32, "little"),
    b"\xff" * 32,
]
"""Other ways to write points, of which the RFC allows none."""


def library(public: bytes, message: bytes, signature: bytes) -> bool:
    """What the library that the service uses says."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize(("public", "message", "signature"), EXAMPLES)
def test_the_examples_of_the_rfc(public: str, message: str, signature: str) -> None:
    """Each is accepted, and not for another message."""
    key, text, octets = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert program().signed(key, text, octets)
    assert not program().signed(key, text + b"\0", octets)


def test_every_bit_counts() -> None:
    """A signature of the library is accepted; with any octet of it, or of its key, changed it is not."""
    signed, drawn = program().signed, random.Random(8032)
    private = Ed25519PrivateKey.from_private_bytes(drawn.randbytes(32))
    public, message = private.public_key().public_bytes_raw(), drawn.randbytes(100)
    signature = private.sign(message)
    assert signed(public, message, signature)
    for place in range(96):
        octets = bytearray(public + signature)
        octets[place] ^= 1 << drawn.randrange(8)
        assert not signed(bytes(octets[:32]), message, bytes(octets[32:]))
        assert not library(bytes(octets[:32]), message, bytes(octets[32:]))
    for wrong in (signature[:-1], signature + b"\0", b""):
        assert not signed(public, message, wrong)


def test_it_judges_as_the_library_does() -> None:
    """Signatures of many keys over many messages, good and bad."""
    signed, drawn = program().signed, random.Random(1)
    for number in range(40):
        private = Ed25519PrivateKey.from_private_bytes(drawn.randbytes(32))
        public, message = private.public_key().public_bytes_raw(), drawn.randbytes(drawn.randrange(200))
        signature = private.sign(message)
        for case in ((public, message, signature), (public, message + b"x", signature)):
            assert signed(*case) is library(*case) is (case[1] == message), number


def test_a_second_signature_cannot_be_made_of_one() -> None:
    """S + L is the same number to the curve, and refused (RFC 8032, 5.1.7, step 1)."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"once")
    other = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    assert program().signed(public, b"once", signature)
    assert not program().signed(public, b"once", other)


@pytest.mark.parametrize("public", SMALL + UNCANONICAL)
def test_keys_that_nobody_could_have(public: bytes) -> None:
    """Points of small order and points written otherwise sign nothing, whatever stands in the signature."""
    signed = program().signed
    for half in (*SMALL, *UNCANONICAL):
        for message in (b"", b"anything", b"1", b"2", b"3"):
            assert not signed(public, message, half + bytes(32))
