"""The shell lines of a page, and a reader who types them: in a folder like the project's, with `python` at hand."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT, environment

__all__ = ["Reader", "put", "shell_lines"]

PATIENCE = 60.0


def shell_lines(page: str) -> list[str]:
    """The indented lines of a page of docs/; what stands between fences is something else."""
    text = re.sub(
        r"^```.*?^```$", "", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^    (\S.*)$", text, re.MULTILINE)


@dataclass(frozen=True)
class Reader:
    """Somebody in `folder`, with these settings of Heed; what they export is added to `exported`."""

    folder: Path
    exported: dict[str, str]

    @classmethod
    def of(cls, folder: Path, **settings: object) -> "Reader":
        """A reader in a new folder."""
        folder.mkdir()
        for name in ("server.py", "examples"):
            (folder / name).symlink_to(ROOT / name)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return cls(folder, {**environment(**settings), "PATH": path})

    @asynccontextmanager
    async def started(self, line: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A line that was typed, and all that it started, until the block ends."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line, cwd=self.folder, env=self.exported, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()

    async def typed(self, line: str) -> str:
        """What a line prints that must come to a good end."""
        async with self.started(line) as process, asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
            assert (process.returncode, err.decode()) == (0, ""), line
            return out.decode()

    async def exports(self, line: str) -> None:
        """An `export` that holds for all lines behind it."""
        found = await self.typed(f"{line} && env -0")
        self.exported.update(dict(each.split("=", 1) for each in found.split("\0") if each))


def put(line: str, own: Mapping[str, str]) -> str:
    """A line with what is another on each machine, such as an id, in place of what the page has."""
    for shown, mine in own.items():
        line = line.replace(shown, mine)
    return line
