"""The reference tools of the Go project on a bundle of ours: its note, its tiles, and our own proofs.

They are built from the copies of golang.org/x/mod/sumdb that lie in every Go distribution. Where there is none, the
test is skipped; `make reference` installs one.
"""

import base64
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from crm.store import proofs
from tests.archive import KEY, ORG, archive

SOURCE = Path(__file__).parent / "go" / "main.go"


def goroot() -> Path:
    """Where Go is installed; skips the test where it is not."""
    spec = find_spec("go")
    places = [Path(spec.origin).parent] if spec and spec.origin else []
    if found := shutil.which("go"):
        places.append(Path(found).resolve().parents[1])
    for place in places:
        if (place / "bin/go").exists() and (place / "src/cmd/vendor/golang.org/x/mod/sumdb/tlog").is_dir():
            return place
    pytest.skip("no Go distribution here: `make reference` installs one")


def built(root: Path, folder: Path) -> Path:
    """The checking program, built in `folder` without a network."""
    vendored = root / "src/cmd/vendor/golang.org/x/mod"
    for name in ("note", "tlog"):
        shutil.copytree(vendored / "sumdb" / name, folder / "mod/sumdb" / name)
    (folder / "mod/go.mod").write_text("module golang.org/x/mod\n\ngo 1.22\n")
    (folder / "go.mod").write_text(
        "module check\n\ngo 1.22\n\nrequire golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => ./mod\n"
    )
    shutil.copy(SOURCE, folder)
    environment = {
        "GOROOT": str(root), "GOPATH": str(folder / "path"), "GOCACHE": str(folder / "cache"), "GOPROXY": "off",
        "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "HOME": str(folder), "PATH": os.defpath,
    }  # fmt: skip
    made = subprocess.run(
        [root / "bin/go", "build", "-o", "check", "."],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder / "check"


@pytest.mark.slow
@pytest.mark.timeout(660)
async def test_go_reads_our_bundles(database_url: str, tmp_path: Path) -> None:
    """Signature, tiles, every event's inclusion, our proofs of both kinds; and none of it once a byte is changed."""
    root = goroot()
    (tmp_path / "go").mkdir()
    check = built(root, tmp_path / "go")

    def encoded(path: list[bytes]) -> list[str]:
        return [base64.b64encode(each).decode() for each in path]

    async with archive(database_url, tmp_path) as it:
        await it.log(700)
        await it.cosign()
        await it.log(50, 700)
        made = await it.bundle()
        database = it.it.database
        ours = {
            "inclusion": [
                {"index": n, "path": encoded(await proofs.inclusion(database, ORG, n, made.size))}
                for n in (0, 1, 255, 256, 511, 512, 700, made.size - 1)
            ],
            "consistency": [
                {
                    "first": n,
                    "root": base64.b64encode(await proofs.root_at(database, ORG, n)).decode(),
                    "path": encoded(await proofs.consistency(database, ORG, n, made.size)),
                }
                for n in (1, 2, 255, 256, 257, 512, 700, made.size)
            ],
        }
    given = tmp_path / "proofs.json"
    given.write_text(json.dumps(ours))

    def said() -> tuple[int, str]:
        ended = subprocess.run(
            [check, made.folder, KEY, given], capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
        return ended.returncode, ended.stdout

    assert said() == (0, "751 8 8\n")
    for name in ("checkpoint", "tile/0/001", "tile/entries/000", "tile/1/000.p/2"):
        file = made.folder / name
        octets = file.read_bytes()
        file.write_bytes(octets[:30] + bytes([octets[30] ^ 1]) + octets[31:])
        assert said()[0] == 1, name
        file.write_bytes(octets)
    assert said()[0] == 0
