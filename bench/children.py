"""The two servers that are compared, each a process of its own on loopback: started, watched, and ended by its id."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SERVE = "from commands.serving import serve; from crm.settings import load; serve(load())"
_START = 120.0
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Child:
    """A serving process."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of processor time its threads used so far, in steps of 10 ms; nan where the system has no /proc."""
        try:
            numbers = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(numbers[11]) + int(numbers[12])) / _TICKS


def settings(url: str, folder: Path, **more: str) -> dict[str, str]:
    """The environment of Heed on the migrated database at `url`; `more` as `keys_refresh="1"`."""
    return {
        "HEED_ENV": "development", "HEED_DATA_DIR": str(folder), "HEED_DATABASE_URL": url, "HEED_LOG_LEVEL": "warning",
        # A busy machine shall be measured, not refused.
        "HEED_AUDIT_DEADLINE": "30", "HEED_REQUEST_DEADLINE": "60",
        **{f"HEED_{name.upper()}": value for name, value in more.items()},
    }  # fmt: skip


@contextmanager
def heed(url: str, folder: Path, *, tree: Path = ROOT, **more: str) -> Iterator[Child]:
    """Heed as `server.py serve` runs it, on the migrated database at `url`; of this checkout, or of another one."""
    given = settings(url, folder, **more)
    port = _free_port()
    with _running([sys.executable, "-c", _SERVE], port, {**given, "HEED_PORT": str(port)}, tree=tree) as child:
        yield child


@contextmanager
def unguarded(url: str, folder: Path) -> Iterator[Child]:
    """Heed without token check, sealing and recording, on a database with clear boxes at `url`."""
    port = _free_port()
    # What was told outside of the log of which this is a copy has nothing to do with it.
    given = {**settings(url, folder, checkpoint_journal=f"{folder}/clear.ndjson"), "HEED_PORT": str(port)}
    with _running([sys.executable, "-m", "bench.unguarded"], port, given) as child:
        yield child


@contextmanager
def peer(command: list[str], url: str) -> Iterator[Child]:
    """Another stack over the plain tables at `url`, which takes that and a port as its last arguments."""
    port = _free_port()
    production = {"NODE_ENV": "production", "GRAPHILE_ENV": "production"}
    with _running([*command, url, str(port)], port, production, path="/graphql") as child:
        yield child


@contextmanager
def bare(url: str) -> Iterator[Child]:
    """The bare service on its table at `url`."""
    port = _free_port()
    with _running([sys.executable, "-m", "bench.bare", url, str(port)], port, {}) as child:
        yield child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with nothing of Heed's but what is given."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("HEED_")}, **given}


@contextmanager
def _running(
    command: list[str], port: int, given: Mapping[str, str], path: str = "/readyz", tree: Path = ROOT
) -> Iterator[Child]:
    process = subprocess.Popen(command, cwd=tree, env=environment(given), stdout=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}{path}")
        yield Child(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", address: str) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"a server ended with status {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # a GraphQL endpoint is there, and was asked nothing
                return
            time.sleep(0.05)
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError("a server did not become ready")
