"""Witnesses for tests: the judging itself in a folder, and one that answers over loopback HTTP as a process would."""

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from commands.witness import Witness
from commands.witnessing import configuration
from crm.audit.checkpoint import Checkpoint
from crm.audit.event import leaf_hash
from crm.audit.tree import Frontier, consistency_ranges, fold
from crm.crypto.cosignature import Cosigner
from crm.crypto.note import Signer

__all__ = ["COSIGNER", "NOW", "Log", "attending", "request", "witness"]

COSIGNER = Cosigner("witness.test/w1", bytes(range(1, 33)))
NOW = 1_795_287_303


class Log:
    """A log in memory, which can prove what it did, and lie."""

    def __init__(self, origin: str = "log.test/north/1", leaves: Sequence[str] = ()) -> None:
        self.signer = Signer(origin, bytes(range(32)))
        self.hashes = [leaf_hash(leaf.encode()) for leaf in leaves]

    def grown(self, *leaves: str) -> "Log":
        """The same log with more leaves."""
        longer = Log(self.signer.name)
        longer.hashes = [*self.hashes, *(leaf_hash(leaf.encode()) for leaf in leaves)]
        return longer

    def root(self, size: int) -> bytes:
        """The root over the first leaves."""
        tree = Frontier()
        for each in self.hashes[:size]:
            tree.append(each)
        return tree.root()

    def note(self, size: int | None = None) -> str:
        """The signed checkpoint over the first leaves, or all."""
        size = len(self.hashes) if size is None else size
        return self.signer.sign(Checkpoint(self.signer.name, size, self.root(size)).text())

    def proof(self, first: int, second: int | None = None) -> list[bytes]:
        """That the first leaves are the beginning of more."""
        second = len(self.hashes) if second is None else second
        return [self._range(start, end) for start, end in consistency_ranges(first, second)]

    def _range(self, start: int, end: int) -> bytes:
        tree = Frontier()
        for each in self.hashes[start:end]:
            tree.append(each)
        return fold([tree.root()])

    def brings(self, old: int, size: int | None = None) -> bytes:
        """The honest request to `add-checkpoint`."""
        return request(old, self.proof(old, size), self.note(size))


def request(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of a request to `add-checkpoint`."""
    steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
    return f"old {old}\n{steps}\n{note}".encode()


def witness(folder: Path, *logs: Log | Signer) -> Witness:
    """A witness that knows these logs."""
    folder.mkdir(exist_ok=True)
    signers = [log.signer if isinstance(log, Log) else log for log in logs]
    return Witness(folder, COSIGNER, [signer.verifier_key for signer in signers], lambda: NOW)


@contextmanager
def attending(witness: Witness) -> Iterator[str]:
    """The address at which a witness answers for as long as the block lasts."""
    server = uvicorn.Server(configuration(witness, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
