"""Node.js and the packages of tests/conformance/node: whether they are here, and how a script runs with them.

`make node` installs the packages. A test that needs them is skipped where they are not.
"""

import asyncio
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "conformance" / "node"
OLDEST = (20, 19)
"""Which Node.js the packages need, as their package.json says."""


@cache
def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in said.strip().removeprefix("v").split("."))


def program() -> str:
    """The Node.js that runs the scripts; skips the test where it or its packages are missing, or it is too old."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js here")
    if _version(found) < OLDEST:
        pytest.skip(f"Node.js {'.'.join(map(str, OLDEST))} is the oldest that the npm packages run on")
    if not (FOLDER / "node_modules" / ".package-lock.json").is_file():  # npm writes it when everything is there
        pytest.skip("the npm packages of tests/conformance/node are not installed: `make node` does it")
    return found


async def run(script: str, *arguments: object, cwd: Path = FOLDER) -> Any:
    """What the script of tests/conformance/node printed as JSON; fails the test with what it said if it failed."""
    running = await asyncio.create_subprocess_exec(
        program(),
        str(FOLDER / script),
        *map(str, arguments),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, said = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 0, said.decode()
    return json.loads(printed)
