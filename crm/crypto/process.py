"""Keeps the process's memory, and so its keys, away from core dumps and its user's other processes."""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def harden_process() -> None:
    """No core dumps (`RLIMIT_CORE` 0), and on Linux no tracing or reading of memory by others of the same user.

    `prctl(PR_SET_DUMPABLE, 0)`, prctl(2). Called by the composition root in every process,
    since a program started anew is dumpable again, before any key is read. Raises OSError.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
