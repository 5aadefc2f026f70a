"""How a command that needs the event loop runs, and how it asks before it does what cannot be undone."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from crm.errors import Unsafe

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns, from a loop of its own."""
    from commands import logs
    from crm.settings import LogLevel

    logs.configure(LogLevel.WARNING)
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(logs.unhandled)
        return runner.run(work)


def agreed(question: str) -> bool:
    """Whether somebody says yes. Raises `Unsafe` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise Unsafe("nobody is there to confirm this: state --yes")
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
