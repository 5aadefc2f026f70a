"""Nonces: no two messages under one key share one, in whatever process or thread they are sealed.

A nonce that comes twice under AES-256-GCM gives away the key of its authentication. Randomness that was fetched ahead
comes twice as soon as a process forks: both halves own the same stock.
"""

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crm.catalogue import BY_NAME, KeyClass
from crm.crypto import aead, data_key, envelope, keyset, root_key, seal, wrapping
from crm.crypto.aead import NONCE, Alg, cipher
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.crypto.lengths import uuid_octets
from tests.keys import key_set

ROOT = Path(__file__).resolve().parents[2]
ORG, ANNA = "org-1", "0198f0c2-7a00-7000-8000-000000000001"
ZONE = BY_NAME["time_zone"]
CHILDREN, EACH = 8, 20_000


def _data_key() -> DataKey:
    return DataKey(cipher(Alg.GCM, bytes(range(32))), ORG, uuid_octets(ANNA), KeyClass.PREFERENCE, 1)


class Stock:
    """Nonces fetched ahead, as one might to save system calls: what this project does not do, and why."""

    def __init__(self) -> None:
        self._stock = os.urandom(NONCE * EACH)
        self._used = 0

    def seal(self, *_: object) -> bytes:
        """Something with the next nonce of the stock where an envelope has its own."""
        self._used += 1
        return bytes(7) + self._stock[NONCE * (self._used - 1) : NONCE * self._used]


def forked(source: str) -> int:
    """How many different nonces eight forked children draw, 20,000 each; `source` seals in each of them."""
    key = Stock() if source == "stock" else _data_key()
    pipes = []
    for _ in range(CHILDREN):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            with os.fdopen(write, "wb") as out:
                out.writelines(key.seal(ZONE, b"Europe/Paris")[7 : 7 + NONCE] for _ in range(EACH))
            os._exit(0)
        os.close(write)
        pipes.append(read)
    drawn = bytearray()
    for pipe in pipes:
        with os.fdopen(pipe, "rb") as ours:
            drawn += ours.read()
    for _ in range(CHILDREN):
        os.wait()
    assert len(drawn) == CHILDREN * EACH * NONCE
    return len({bytes(drawn[at : at + NONCE]) for at in range(0, len(drawn), NONCE)})


@pytest.mark.parametrize(("source", "different"), [("cells", CHILDREN * EACH), ("stock", EACH)])
def test_e13_forked_children_never_share_a_nonce(source: str, different: int) -> None:
    """Eight children that inherit one data key draw 160,000 different nonces; from a stock drawn ahead, 20,000."""
    # A process of its own, because this one has threads, and a fork keeps only the one that forks.
    program = f"from tests.security.test_attack_nonces import forked; print(forked({source!r}))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == different


def test_e13_threads_never_share_a_nonce() -> None:
    """Eight threads that seal with one data key draw as many different nonces as they seal cells."""
    key = _data_key()

    def work(_: int) -> list[bytes]:
        return [key.seal(ZONE, b"Europe/Paris")[7 : 7 + NONCE] for _ in range(2_500)]

    with ThreadPoolExecutor(8) as threads:
        drawn = [nonce for part in threads.map(work, range(8)) for nonce in part]
    assert len(set(drawn)) == len(drawn) == 20_000


def _sealers(keys: KeySet) -> dict[str, tuple[Callable[[], bytes], int]]:
    """Everything that seals: what it gives, and where the nonce stands in it."""
    key, new = keys.new_data_key(ORG, ANNA, KeyClass.PREFERENCE, 1)
    root = root_key.RootKey.of("r", "index", bytes(range(32)))
    return {
        "cell": (lambda: key.seal(ZONE, b"Europe/Paris"), 7),
        "row seal": (lambda: key.seal_row(1, {}, b""), 0),
        "wrapped data key": (lambda: keys.rewrap(ORG, ANNA, KeyClass.PREFERENCE, 1, new.wrapped).wrapped, 6),
        "wrapped by a root key": (lambda: root.wrap(bytes(32), {"use": "index"}), 2),
    }


SEALERS = ("cell", "row seal", "wrapped data key", "wrapped by a root key")


@pytest.mark.parametrize("what", SEALERS)
def test_e14_every_message_takes_fresh_octets(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a source of randomness that counts, each message asks it once for 12 octets, and carries just those."""
    sealers = _sealers(key_set(tmp_path))
    assert tuple(sealers) == SEALERS
    seal_one, at = sealers[what]
    asked: list[int] = []

    def counted(length: int) -> bytes:
        asked.append(length)
        return len(asked).to_bytes(length)

    monkeypatch.setattr(os, "urandom", counted)
    nonces = [seal_one()[at : at + NONCE] for _ in range(5)]
    assert asked == [NONCE] * 5
    assert nonces == [number.to_bytes(NONCE) for number in range(1, 6)]


def test_e14_same_plaintext_never_gives_the_same_envelope() -> None:
    """Ten thousand envelopes of one value carry ten thousand nonces."""
    key = _data_key()
    assert len({key.seal(ZONE, b"Europe/Paris")[7:19] for _ in range(10_000)}) == 10_000


def test_e14_nobody_can_hand_in_a_nonce() -> None:
    """No function or method of the sealing modules has a parameter for one, or for randomness."""
    forbidden = {"nonce", "iv", "random", "rng", "entropy", "urandom"}
    found = []
    for module in (envelope, seal, wrapping, root_key, data_key, keyset):
        for name, thing in inspect.getmembers(module, lambda part: inspect.isfunction(part) or inspect.isclass(part)):
            if thing.__module__ != module.__name__:
                continue
            methods = [method for _, method in inspect.getmembers(thing, inspect.isfunction)] or [thing]
            found += [name for one in methods if forbidden & set(inspect.signature(one).parameters)]
    assert found == []
    assert "nonce" in inspect.signature(aead.Aead.encrypt).parameters, "only the cipher beneath takes one"


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "crm" / "crypto").glob("*.py")):
        yield path.name, ast.parse(path.read_text(encoding="utf-8"))


def _encryptions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
    """Every function that calls a cipher's `encrypt(nonce, data, associated data)`, with the call."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call) and len(node.args) == 3)
            yield from ((function, call) for call in calls if ast.unparse(call.func).endswith(".encrypt"))


def test_e14_every_nonce_is_drawn_where_it_is_used() -> None:
    """Each encryption takes a nonce that the same function drew from `os.urandom`: none is pooled or passed in."""
    drawing = set()
    for module, tree in _modules():
        for function, call in _encryptions(tree):
            nonce = ast.unparse(call.args[0])
            drawn = [line for line in map(ast.unparse, function.body) if nonce in line and "os.urandom(NONCE)" in line]
            assert len(drawn) == 1, f"{module}: {function.name} does not draw its nonce"
            parameters = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
            assert nonce not in parameters, f"{module}: {function.name} takes a nonce"
            drawing.add(module)
    assert drawing == {
        "detail.py", "envelope.py", "positions.py", "registration.py", "root_key.py", "seal.py", "wrapping.py",
    }  # fmt: skip


def test_e14_no_module_draws_randomness_ahead() -> None:
    """In the crypto room `os.urandom` is called inside functions only, never multiplied, and by no other name."""
    for module, tree in _modules():
        inside = {
            id(node) for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "urandom":
                assert id(node) in inside, f"{module} draws randomness while it is imported"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.urandom":
                assert ast.unparse(node.args[0]) in {"NONCE", "KEY", "4", "8"}, f"{module}: more than one is drawn"
        assert not {"secrets", "random"} & {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }, f"{module} has another source of randomness"
