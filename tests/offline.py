"""The program that checks evidence without Heed: run as strangers run it, called in this process, or in its parts."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType

__all__ = ["VERIFIER", "Ended", "check", "program", "run"]

VERIFIER = Path(__file__).resolve().parents[1] / "examples" / "audit-verify.py"


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended: its status, and all that it said."""

    status: int
    said: str


def program() -> ModuleType:
    """The program as a module, for tests of its parts."""
    if "audit_verify" not in sys.modules:
        spec = spec_from_file_location("audit_verify", VERIFIER)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["audit_verify"] = module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["audit_verify"]


def check(*words: object) -> Ended:
    """The program in this process, which is faster than `run`."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(out):
        status = program().main([str(word) for word in words])
    return Ended(status, out.getvalue())


def run(folder: Path, *words: object, verifier: Path = VERIFIER) -> Ended:
    """The program in a process of its own: Python alone, without packages, environment or anything of the user's."""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", verifier, *map(str, words)],
        cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return Ended(ended.returncode, ended.stdout + ended.stderr)
