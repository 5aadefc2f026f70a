"""Several serving processes on one socket: starts them, replaces one that dies, ends them all together."""

import asyncio
import logging
import multiprocessing
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType, TracebackType
from typing import Self

from commands import logs
from commands.house import house, verifier
from commands.refusals import sentence
from commands.serving import GRACE, STOPS, Opened, address_of, drain, reserved, run
from crm.crypto.process import harden_process
from crm.errors import Unsafe
from crm.settings import Settings

PAUSE = 1.0
"""Seconds before a process that died is replaced, so that a lasting fault does not keep the machine busy."""

_log = logging.getLogger("heed.workers")


def serve(settings: Settings, workers: int, opened: Opened) -> None:
    """Serves with so many processes until SIGINT or SIGTERM.

    Raises `Unsafe` or `StoreUnavailable` before the first of them is started when something is not in order.
    """
    if settings.database_url.startswith("sqlite:"):
        raise Unsafe("several workers need PostgreSQL: SQLite serves one process; leave out --workers")
    asyncio.run(_rehearse(settings))
    with reserved(settings) as bound, _Crew(settings, bound, opened) as crew:
        for _ in range(workers):
            crew.hire()
        crew.watch()


async def _rehearse(settings: Settings) -> None:
    """Opens the house once, so that a refusal is one clear line instead of one for each worker."""
    verifier(settings)
    async with house(settings):
        pass


class _Crew:
    """The worker processes. SIGINT and SIGTERM wake the watch, which then ends."""

    def __init__(self, settings: Settings, bound: socket.socket, opened: Opened) -> None:
        self._settings = settings
        self._bound = bound
        self._opened = opened
        # A fresh interpreter for each: a copy of this one would share the state of random generators.
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
        self._news, self._report = self._context.Pipe(duplex=False)
        self._alarm, self._bell = socket.socketpair()
        self._bell.setblocking(False)

    def __enter__(self) -> Self:
        for stop in STOPS:
            signal.signal(stop, self._ring)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bound.close()  # else the system would go on to accept connections that nobody serves
        for stop in STOPS:
            signal.signal(stop, self._hurry)
        self._hurry()
        until = time.monotonic() + drain(self._settings) + GRACE + 5
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                _log.error("worker %s did not end in time and is killed", process.pid)
                process.kill()
                process.join()
        for end in (self._news, self._report, self._alarm, self._bell):
            end.close()

    def hire(self) -> None:
        """Starts one process. Ctrl-C reaches all processes of a terminal, so the workers leave it to this one."""
        process = self._context.Process(target=_work, args=(self._settings, self._bound, self._report), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        self._processes.append(process)

    def watch(self) -> None:
        """Returns when a signal says so."""
        told = False
        while True:
            sentinels = {process.sentinel: process for process in self._processes}
            ready = wait([self._alarm, *([] if told else [self._news]), *sentinels])
            if self._alarm in ready:
                return
            if self._news in ready:
                told = True
                self._opened(address_of(self._bound))
            for process in [sentinels[end] for end in ready if isinstance(end, int)]:
                process.join()
                _log.error("worker %s ended with status %s; another one takes its place", process.pid, process.exitcode)
                self._processes.remove(process)
                if wait([self._alarm], PAUSE):
                    return
                self.hire()

    def _hurry(self, *_: object) -> None:
        """Tells every worker to end; one that was told before does not wait for its clients any more."""
        for process in self._processes:
            process.terminate()

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # it rang often enough
            self._bell.send(b"!")


def _work(settings: Settings, bound: socket.socket, report: Connection) -> None:
    """The life of one worker."""
    harden_process()
    logs.configure(settings.log_level)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        run(settings, bound, lambda _: report.send(None), (signal.SIGTERM,))
    except Exception as failure:  # noqa: BLE001 - a worker ends with one line, whatever ails it
        print(f"heed: {sentence(failure)}", file=sys.stderr)
        sys.exit(1)


def _follow_parent() -> None:
    """Ends this worker in order when the process that started it is gone without having said so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)
