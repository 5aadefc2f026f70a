"""Signed notes against published examples, and against everything that may have been done to one on its way."""

import base64
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.crypto.note import Signer, open_note
from crm.errors import Tampered

# The example of the documentation of golang.org/x/mod/sumdb/note, with its private key.
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

# The example of the specification, https://c2sp.org/signed-note, section "Verifier keys".
C2SP_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_TEXT = "This is an example message.\n"
C2SP_NOTE = (
    f"{C2SP_TEXT}\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

SIGNER = Signer("clinic.test/erasure", bytes(range(32)))


def line(note: str) -> str:
    """The line of the signature of a note that has one."""
    return note.rpartition("\n\n")[2]


@pytest.mark.parametrize(("note", "key", "text"), [(GO_NOTE, GO_KEY, GO_TEXT), (C2SP_NOTE, C2SP_KEY, C2SP_TEXT)])
def test_published_notes_open(note: str, key: str, text: str) -> None:
    """Notes that other programs signed open to the text that they published."""
    assert open_note(note, key) == text


def test_a_published_note_is_made_again_octet_for_octet() -> None:
    """Ed25519 gives one signature for one text: ours is the published one, and so is the verifier key."""
    signer = Signer("PeterNeumann", GO_SEED)
    assert signer.verifier_key == GO_KEY
    assert signer.sign(GO_TEXT) == GO_NOTE


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(32)])))
def test_what_is_signed_opens(text: str) -> None:
    """Any text survives, also one with empty lines, in front, within and at the end."""
    for each in (f"{text}\n", f"\n{text}\n", f"{text}\n\n{text}\n\n", f"\n\n{text}\n"):
        assert open_note(SIGNER.sign(each), SIGNER.verifier_key) == each


@pytest.mark.parametrize("place", range(0, len(GO_NOTE.encode()), 7))
def test_a_changed_octet_is_noticed(place: int) -> None:
    """A note with a bit turned over, in the text or in the signature, does not open."""
    octets = bytearray(GO_NOTE.encode())
    octets[place] ^= 1
    with pytest.raises(Tampered):
        open_note(octets.decode("utf-8", "surrogateescape"), GO_KEY)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        GO_TEXT,
        GO_NOTE.rstrip("\n"),
        GO_NOTE + "\n",
        GO_NOTE + "more\n",
        GO_NOTE.replace("\n\n", "\n"),
        GO_NOTE.replace("\u2014", "-"),
        GO_NOTE.replace("\n", "\r\n"),
        GO_NOTE.replace("you think", "you\tthink"),
        GO_NOTE.replace(" x08go", "  x08go"),
        GO_NOTE.replace("JnAM=", "JnAM"),
        GO_NOTE.replace("JnAM=", "JnAM=\u0661"),
        GO_NOTE.replace("PeterNeumann", "Peter+Neumann"),
        f"{GO_TEXT}\n\u2014 PeterNeumann x08gow==\n",
        GO_TEXT + GO_NOTE,
        f"{GO_TEXT}\n{line(GO_NOTE) * 101}",
        f"{GO_TEXT}\n{line(C2SP_NOTE)}",
        f"{GO_TEXT}\n{line(GO_NOTE)}{line(Signer('PeterNeumann', GO_SEED).sign(C2SP_TEXT))}",
    ],
)
def test_what_is_no_note_of_this_key_does_not_open(note: str) -> None:
    """Malformed, unsigned, signed by another, or with one good and one bad signature of the same key."""
    with pytest.raises(Tampered):
        open_note(note, GO_KEY)


def test_signatures_of_others_are_ignored() -> None:
    """Other keys may sign the same text, also under the same name; they neither help nor harm."""
    namesake = Signer("PeterNeumann", bytes(32))
    note = f"{GO_TEXT}\n{line(namesake.sign(GO_TEXT))}{line(SIGNER.sign(C2SP_TEXT))}{line(GO_NOTE)}"
    assert open_note(note, GO_KEY) == GO_TEXT
    assert open_note(note, namesake.verifier_key) == GO_TEXT
    with pytest.raises(Tampered):
        open_note(note, C2SP_KEY)


def test_a_key_id_that_is_claimed_is_not_believed() -> None:
    """Name and key id of one key before the signature of another: the signature is looked at, and fails."""
    forged = base64.b64decode(line(GO_NOTE).split(" ")[2])[:4] + base64.b64decode(line(C2SP_NOTE).split(" ")[2])[4:]
    with pytest.raises(Tampered):
        open_note(f"{GO_TEXT}\n\u2014 PeterNeumann {base64.b64encode(forged).decode()}\n", GO_KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("Peter", "Paul"),
        GO_KEY.replace("Peter", "Peter "),
        GO_KEY.replace("ARpc", "AhpC"),
        GO_KEY[:-4],
        GO_KEY.replace("10TW", "10T?"),
    ],
)
def test_what_is_no_verifier_key_is_refused(key: str) -> None:
    """A verifier key vouches for itself: its id is computed from its name and its octets."""
    with pytest.raises(RuntimeError, match="verifier key"):
        open_note(GO_NOTE, key)


@pytest.mark.parametrize("name", ["", "two words", "one+one", "new\nline", "wide\u3000space", "none\u200b"])
def test_names_that_cannot_be_told_from_what_follows_are_refused(name: str) -> None:
    """A name is followed by a space in a note and by a plus sign in a key."""
    with pytest.raises(RuntimeError, match="name"):
        Signer(name, bytes(32))


@pytest.mark.parametrize("text", ["", "no end", "a\rb\n", "a\tb\n", "a\0b\n", "half \ud800\n"])
def test_texts_that_no_reader_would_accept_are_not_signed(text: str) -> None:
    """The specification forbids control characters and wants a newline at the end."""
    with pytest.raises(RuntimeError, match="text"):
        SIGNER.sign(text)


def test_a_signer_keeps_its_seed() -> None:
    """It neither shows itself nor leaves the process."""
    assert repr(SIGNER) == "***"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(SIGNER)
