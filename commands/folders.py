"""The folders that a process keeps its things in, and the files that it gives out."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from crm.errors import Unsafe


def private_folder(folder: Path) -> Path:
    """The folder, created for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def new_file(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a new file for its owner only, which is whole or not there. Raises `Unsafe`."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Unsafe(f"cannot write {output}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
    except BaseException:
        output.unlink(missing_ok=True)  # half an export looks like a whole one
        raise
