"""A witness: it cosigns what only grew, says no to everything else, and keeps what proves a lie (T3, T4, T29)."""

import base64
import json
import socket
import threading
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from commands.witness import MOST_EVIDENCE, MOST_OCTETS, Witness, folder
from commands.witnessing import MOST_OF_ONE, WitnessHttp, caller, serve
from crm.crypto.cosignature import cosigned_at
from crm.crypto.note import Signer, open_note, with_signatures
from crm.errors import Unsafe
from tests.witnesses import COSIGNER, NOW, Log, attending, request, witness

LOG = Log(leaves=[f"event {number}" for number in range(700)])


def evidence(path: Path) -> list[dict[str, str]]:
    """What the witness kept of logs that lied."""
    return [json.loads(file.read_text()) for file in sorted((path / "evidence").iterdir())]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (5, 8), (8, 8), (255, 256), (256, 700), (699, 700)])
def test_what_only_grew_is_cosigned(tmp_path: Path, first: int, second: int) -> None:
    """A later checkpoint with its proof gets a line that verifies, and is what the witness then knows of the log."""
    it = witness(tmp_path, LOG)
    if first:
        assert it.add(LOG.brings(0, first)).status == 200
    answer = it.add(LOG.brings(first, second))
    assert (answer.status, answer.text[:2]) == (200, "\u2014 ")
    assert cosigned_at(with_signatures(LOG.note(second), answer.text), COSIGNER.verifier_key) == NOW
    note = it.latest(LOG.signer.name)
    assert note
    assert open_note(note, LOG.signer.verifier_key) == LOG.note(second).partition("\n\n")[0] + "\n"
    assert cosigned_at(note, COSIGNER.verifier_key) == NOW
    assert evidence(tmp_path) == []


def test_it_remembers_what_it_cosigned(tmp_path: Path) -> None:
    """A witness that starts again goes on from where it was, and its files are its own."""
    assert witness(tmp_path, LOG).add(LOG.brings(0, 300)).status == 200
    again = witness(tmp_path, LOG)
    assert again.add(LOG.brings(0, 700)).text == "300\n"
    assert again.add(LOG.brings(300, 700)).status == 200
    [file] = (tmp_path / "logs").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_old_size_is_told_ours(tmp_path: Path) -> None:
    """Who does not know what the witness has learns it, in the form that the specification wants."""
    it = witness(tmp_path, LOG)
    it.add(LOG.brings(0, 300))
    for old in (0, 299, 301):
        answer = it.add(LOG.brings(old, 400))
        assert (answer.status, answer.text, answer.media_type) == (409, "300\n", "text/x.tlog.size")
    assert evidence(tmp_path) == []


def test_a_fork_is_never_cosigned_and_both_notes_are_kept(tmp_path: Path) -> None:
    """Two signed trees of one size prove that the log lied: both stay, word for word, and the first one stands."""
    it = witness(tmp_path, LOG)
    it.add(LOG.brings(0, 300))
    other = Log(leaves=["another"]).grown(*[f"event {number}" for number in range(1, 300)])
    for _ in range(2):
        answer = it.add(request(300, [], other.note()))
        assert (answer.status, answer.text) == (409, "300\n")
    [kept] = evidence(tmp_path)
    assert kept["kind"] == "fork"
    texts = [open_note(kept[name], LOG.signer.verifier_key).split("\n") for name in ("held", "brought")]
    assert texts[0][:2] == texts[1][:2]
    assert texts[0][2] != texts[1][2]
    assert it.add(LOG.brings(300, 301)).status == 200


def test_a_log_that_was_put_back_and_went_on_is_not_cosigned(tmp_path: Path) -> None:
    """Whatever proof it brings, the events that it lost cannot be the beginning of its tree."""
    it = witness(tmp_path, LOG)
    it.add(LOG.brings(0, 300))
    back = Log()
    back.hashes = LOG.hashes[:250]
    assert it.add(request(250, [], back.note())).text == "300\n"
    longer = back.grown(*[f"other {number}" for number in range(100)])
    for proof in (longer.proof(300), longer.proof(250), [], LOG.proof(300, 350)):
        assert it.add(request(300, proof, longer.note())).status == 422
    assert [kept["kind"] for kept in evidence(tmp_path)] == ["behind", "inconsistent"]
    assert it.latest(LOG.signer.name) == with_signatures(LOG.note(300), COSIGNER.cosign(_text(LOG.note(300)), NOW))


def _text(note: str) -> str:
    return note.partition("\n\n")[0] + "\n"


def test_strangers_are_refused(tmp_path: Path) -> None:
    """A log that it does not know, and a checkpoint that the log's key did not sign, leave nothing behind."""
    it = witness(tmp_path, LOG)
    stranger = Log("log.test/south/1", ["one"])
    assert it.add(stranger.brings(0)).status == 404
    forged = Signer(LOG.signer.name, bytes(32)).sign(_text(LOG.note(5)))
    assert it.add(request(0, [], forged)).status == 403
    assert it.latest(stranger.signer.name) is None
    assert it.latest(LOG.signer.name) is None
    assert evidence(tmp_path) == []


def test_what_others_signed_is_not_kept(tmp_path: Path) -> None:
    """Lines of unknown keys are ignored, and do not come back with ours."""
    it = witness(tmp_path, LOG)
    more = with_signatures(LOG.note(5), Signer("somebody", bytes(32)).sign(_text(LOG.note(5))).rpartition("\n\n")[2])
    assert it.add(request(0, [], more)).status == 200
    assert "somebody" not in (it.latest(LOG.signer.name) or "")


def signature(note: str) -> str:
    """The lines below a text."""
    return note.rpartition("\n\n")[2]


@pytest.mark.parametrize("count", [1, 15])
def test_lines_of_keys_that_are_not_the_log_s(tmp_path: Path, count: int) -> None:
    """As many as a note may have, under the log's own name too: cosigned, and only the log's line is kept."""
    note = LOG.note(5)
    for number in range(count):
        note = with_signatures(note, signature(Signer(LOG.signer.name, bytes([number]) * 32).sign(_text(note))))
    it = witness(tmp_path, LOG)
    assert it.add(request(0, [], note)).status == 200
    kept = it.latest(LOG.signer.name)
    assert kept
    assert signature(kept) == signature(LOG.note(5)) + COSIGNER.cosign(_text(note), NOW)


def test_the_log_s_line_over_and_over(tmp_path: Path) -> None:
    """Sixteen times the same signature is one that is kept once."""
    it = witness(tmp_path, LOG)
    assert it.add(request(0, [], LOG.note(5) + signature(LOG.note(5)) * 15)).status == 200
    assert signature(it.latest(LOG.signer.name) or "").count("\n") == 2


def test_forks_are_not_crowded_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Old checkpoints without end fill nothing: one of them is kept for each log, and every fork beside it."""
    monkeypatch.setitem(MOST_EVIDENCE, "fork", 2)
    south = Log("log.test/south/1", ["one", "two"])
    it = witness(tmp_path, LOG, south)
    it.add(LOG.brings(0, 300))
    it.add(south.brings(0))
    for size in range(1, 200):
        assert it.add(request(size - 1, [], LOG.note(size))).text == "300\n"
    it.add(request(1, [], south.note(1)))
    assert [kept["kind"] for kept in evidence(tmp_path)] == ["behind", "behind"]
    for number in range(3):
        other = Log(leaves=[f"another {number}"]).grown(*[f"event {number}" for number in range(1, 300)])
        assert it.add(request(300, [], other.note())).status == 409
    assert [kept["kind"] for kept in evidence(tmp_path)] == ["behind", "behind", "fork", "fork"]
    forks = [record.message for record in caplog.records if record.message.startswith("FORK")]
    assert ["kept in" in line for line in forks] == [True, True, False]
    assert forks[-1].endswith("the 3. of its kind; not kept")


def test_nothing_is_kept_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be written to: the answer is the same, and the line does not tell of a file."""
    it = witness(tmp_path, LOG)
    it.add(LOG.brings(0, 3))
    (tmp_path / "evidence").rmdir()
    other = Log(leaves=["x", "y", "z"])
    assert it.add(request(3, [], other.note())).status == 409
    [line] = [record.message for record in caplog.records]
    assert "could not be kept" in line
    assert "kept in" not in line


NOTE = LOG.note(5)
STEP = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"\xff\xfe\n\n",
        NOTE.encode(),
        f"old 0\n{NOTE}".encode(),
        f"old -1\n\n{NOTE}".encode(),
        f"old 00\n\n{NOTE}".encode(),
        f"old 6\n\n{NOTE}".encode(),
        f"old\u00a00\n\n{NOTE}".encode(),
        f"old 0\r\n\r\n{NOTE}".encode(),
        f"old 1\nAAAA\n\n{NOTE}".encode(),
        f"old 1\n{STEP[:-1]}\n\n{NOTE}".encode(),
        f"old 1\n{(STEP + chr(10)) * 64}\n{NOTE}".encode(),
        f"old 0\n\n{NOTE}".replace("\n5\n", "\n05\n").encode(),
        f"old 0\n\n{NOTE}".replace("\n5\n", "\n5\nmore\n", 1).replace("\n5\n\n", "\n").encode(),
        f"old 0\n\n{NOTE}".encode() + b"x" * MOST_OCTETS,
    ],
)
def test_garbage_is_refused(tmp_path: Path, body: bytes) -> None:
    """Whatever is no request of the specification's form, in 400 and nothing else."""
    it = witness(tmp_path, LOG)
    assert it.add(body).status == 400
    assert it.latest(LOG.signer.name) is None


def test_one_of_many_at_once_is_first(tmp_path: Path) -> None:
    """Checking and remembering are one step: of different later trees only one can follow the same older one."""
    it = witness(tmp_path, LOG)
    it.add(LOG.brings(0, 100))
    branches = [LOG.brings(100, 101)]
    for number in range(7):
        branch = Log()
        branch.hashes = LOG.hashes[:100]
        branches.append(branch.grown(f"branch {number}").brings(100))
    answers: list[int] = []
    threads = [threading.Thread(target=lambda body=body: answers.append(it.add(body).status)) for body in branches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7
    assert {kept["kind"] for kept in evidence(tmp_path)} == {"fork"}


def test_its_key_is_made_once_and_is_its_own(tmp_path: Path) -> None:
    """The first run makes the key, with mode 0600; later ones have the same, and only one at a time."""
    with folder(tmp_path / "w", "witness.test/w1") as first:
        assert (tmp_path / "w" / "key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(Unsafe, match="another witness"), folder(tmp_path / "w", None):
            pass
    with folder(tmp_path / "w", None) as again:
        assert again.verifier_key == first.verifier_key
    with pytest.raises(Unsafe, match="keeps its name"), folder(tmp_path / "w", "other"):
        pass
    (tmp_path / "w" / "key").chmod(0o644)
    with pytest.raises(Unsafe, match="chmod 600"), folder(tmp_path / "w", None):
        pass


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["nonsense"], "not the verifier key"),
        ([COSIGNER.verifier_key], "not the verifier key"),
        ([LOG.signer.verifier_key, Signer(LOG.signer.name, bytes(32)).verifier_key], "two keys"),
    ],
)
def test_what_it_is_told_to_watch_is_checked(tmp_path: Path, keys: list[str], words: str) -> None:
    """Keys of logs, one for each; the key of a witness is none."""
    with pytest.raises(Unsafe, match=words):
        Witness(tmp_path, COSIGNER, keys, lambda: NOW)


@pytest.mark.parametrize(
    ("listen", "keys", "words"),
    [
        ("here", [LOG.signer.verifier_key], "HOST:PORT"),
        ("127.0.0.1:99999", [LOG.signer.verifier_key], "HOST:PORT"),
        ("127.0.0.1:0", [], "at least one log"),
    ],
)
def test_how_it_is_started_is_checked(tmp_path: Path, listen: str, keys: list[str], words: str) -> None:
    """Before a key is made or anybody is answered."""
    with pytest.raises(Unsafe, match=words):
        serve(listen, tmp_path / "w", keys, None)
    assert not (tmp_path / "w").exists()


def test_over_http(tmp_path: Path) -> None:
    """The two addresses, the media type of a conflict, an origin with slashes, and a body that is too large."""
    with attending(witness(tmp_path, LOG)) as url:
        assert httpx.get(f"{url}/checkpoint/{quote(LOG.signer.name, safe='')}").status_code == 404
        answer = httpx.post(f"{url}/add-checkpoint", content=LOG.brings(0, 5))
        assert answer.status_code == 200
        seen = httpx.get(f"{url}/checkpoint/{quote(LOG.signer.name, safe='')}")
        assert cosigned_at(seen.text, COSIGNER.verifier_key) == NOW
        conflict = httpx.post(f"{url}/add-checkpoint", content=LOG.brings(0, 6))
        assert (conflict.status_code, conflict.headers["content-type"]) == (409, "text/x.tlog.size")
        assert httpx.post(f"{url}/add-checkpoint", content=b"x" * (MOST_OCTETS + 1)).status_code == 413
        assert httpx.get(f"{url}/add-checkpoint").status_code == 405
        assert httpx.get(f"{url}/checkpoint/../key").status_code == 404


def silent(url: str, count: int) -> list[socket.socket]:
    """Connections on which nothing is said."""
    address = urlsplit(url)
    return [socket.create_connection((address.hostname, address.port)) for _ in range(count)]


def closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection within a while."""
    connection.settimeout(5)
    try:
        return connection.recv(1_000) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_silence_stops_nobody_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address has so many connections, and none of them for longer than a head may take."""
    monkeypatch.setattr(WitnessHttp, "patience", 0.5)
    with attending(witness(tmp_path, LOG)) as url:
        held = silent(url, MOST_OF_ONE)
        [more] = silent(url, 1)
        assert closed(more)
        assert all(map(closed, held))
        assert httpx.get(f"{url}/healthz").status_code == 200
        for each in (*held, more):
            each.close()


def test_a_head_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However alive it looks, its time runs from its first octet."""
    monkeypatch.setattr(WitnessHttp, "patience", 0.3)
    with attending(witness(tmp_path, LOG)) as url:
        [slow] = silent(url, 1)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        answer = b""
        for _ in range(100):
            try:
                slow.sendall(b"x")
                slow.settimeout(0.05)
                answer += slow.recv(1_000)
            except TimeoutError:
                continue
            except OSError:
                break
            if answer:
                break
        assert answer.startswith(b"HTTP/1.1 408 ")
        slow.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_whose_connection_it_is(one: str, other: str, same: bool) -> None:
    """An address of IPv4, a network of IPv6."""
    assert (caller((one, 1)) == caller((other, 2))) is same
