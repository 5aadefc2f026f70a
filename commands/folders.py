"""The folders that a process keeps its things in."""

from pathlib import Path


def private_folder(folder: Path) -> Path:
    """The folder, created for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
