"""GraphiQL in a real browser, served by the demo: it comes up from local files, and asks nobody else."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "chromium"
)
# Every name but our own address fails to resolve, so that an asset from elsewhere would be missing from the page.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=10000",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="needs Chromium on the PATH")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo with three patients."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = tmp_path_factory.mktemp("demo") / "data"
    command = [sys.executable, "server.py", "demo", "--port", str(port), "--data", str(data), "--patients", "3"]
    log = data.parent / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/healthz", demo)
            yield f"http://127.0.0.1:{port}/graphql"
        finally:
            demo.terminate()
            demo.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the demo ended"
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the demo did not come up")


def test_graphiql_comes_up_from_local_files(address: str, tmp_path: Path) -> None:
    """The page renders the editor and asks for a token, with no name resolvable but our own address."""
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "graphiql-container" in page
    assert "Bearer token" in page
    assert "Paste a token" in page


def test_the_page_allows_itself_nothing_else(address: str) -> None:
    """The policy of the page names this server alone, and no link of it leads elsewhere."""
    answer = httpx.get(address, headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "://" not in answer.text
