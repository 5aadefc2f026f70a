"""`server.py` as its users run it: real processes, each with an environment of its own, ended by their own ids."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from crm.crypto.keyring import KeyRing

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds after which something that should have happened counts as never happening. Nothing is judged by it."""


def environment(**settings: object) -> dict[str, str]:
    """An environment with nothing of Heed's but `settings`: `data_dir=x` becomes `HEED_DATA_DIR`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEED_")}
    return {**kept, **{f"HEED_{name.upper()}": str(value) for name, value in settings.items()}}


def call(*arguments: object) -> list[str]:
    """The words that start a command."""
    return [sys.executable, str(ROOT / "server.py"), *map(str, arguments)]


def command(*arguments: object, cwd: Path = ROOT, **settings: object) -> subprocess.CompletedProcess[str]:
    """A command that ran to its end."""
    return subprocess.run(
        call(*arguments),
        env=environment(**settings),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def done(*arguments: object, **settings: Any) -> str:
    """The standard output of a command that must succeed."""
    ended = command(*arguments, **settings)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def founded(folder: Path, database_url: str) -> dict[str, object]:
    """The settings of a place with a key ring and a migrated database, as `keys init` and `migrate` would make it."""
    KeyRing.create(folder / "keyring.json")
    return {"data_dir": folder, "database_url": database_url}


@dataclass
class Serving:
    """A process that serves at `address`; `stdout` and `stderr` grow while it runs."""

    process: subprocess.Popen[str]
    address: str
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def get(self, path: str) -> httpx.Response:
        """The answer to a GET."""
        return httpx.get(self.address + path, timeout=PATIENCE)

    def ask(self, token: str, query: str, **variables: Any) -> httpx.Response:
        """The answer to one GraphQL request."""
        body = {"query": query, "variables": variables}
        headers = {"authorization": f"Bearer {token}", "accept": "application/graphql-response+json"}
        return httpx.post(f"{self.address}/graphql", json=body, headers=headers, timeout=PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(how)
        status = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join()
        return status

    @property
    def said(self) -> str:
        """All that it printed so far."""
        return "".join([*self.stdout, *self.stderr])


@contextmanager
def serving(*arguments: object, until: str = "/healthz", **settings: object) -> Iterator[Serving]:
    """A command such as `serve` on a free port, once it answers at `until`; it ends with the block at the latest."""
    port = free_port()
    with started(call(*arguments, "--port", port), environment(**settings), f"http://127.0.0.1:{port}") as running:
        wait_until(lambda: _answers(running, until), running)
        yield running


@contextmanager
def started(words: Sequence[str], env: dict[str, str], address: str) -> Iterator[Serving]:
    """A process whose output is collected; it ends with the block at the latest."""
    process = subprocess.Popen(
        words, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running = Serving(process, address)
    running.readers = [
        threading.Thread(target=_collect, args=(stream, lines))
        for stream, lines in ((process.stdout, running.stdout), (process.stderr, running.stderr))
    ]
    for reader in running.readers:
        reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        for reader in running.readers:
            reader.join()


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream is not None
    with stream:
        for line in stream:
            lines += [line]  # one by one, because the test looks on


def wait_until(happened: Any, running: Serving | None = None) -> None:
    """Returns once `happened()` is true; fails when the process ended, or after a long patience."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert running is None or running.process.poll() is None, running.said
        assert time.monotonic() < end, running.said if running else "it never happened"
        time.sleep(0.05)


def _answers(running: Serving, path: str) -> bool:
    try:
        return httpx.get(running.address + path, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
