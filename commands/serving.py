"""One serving process: an opened house, the ASGI application over it, and uvicorn around that."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType

import uvicorn
import uvloop
from starlette.applications import Starlette

from auth.tokens import TokenVerifier
from commands import logs
from commands.house import House, house, verifier
from commands.protocol import BoundedHttp, Connections
from commands.sockets import BoundedWebSocket
from crm.catalogue import KeyClass
from crm.crypto.keyset import KeySet
from crm.errors import Unsafe
from crm.settings import DocumentsAllowed, Environment, Settings
from crm.store.sqlite import path_of
from schema.app import create_app
from schema.settings import Limits
from schema.settings import Settings as Transport

GRACE = 10
"""Seconds that requests in flight get to finish when the server is told to stop."""

YOUNG = 50_000
"""New objects, less those that went, after which the collector of garbage looks through them."""

DRAIN = 5.0
"""Seconds between "not ready" and the end of listening, in production and where nothing else is set."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""The signals that end the serving: Ctrl-C at once, SIGTERM after the drain."""

_log = logging.getLogger("heed.process")

Opened = Callable[[str], None]
"""Told the server's address, such as `http://127.0.0.1:8000`, as soon as it answers there."""


def silent(_address: str) -> None:
    """Tells nobody."""


def transport(settings: Settings) -> Transport:
    """The part of the settings that the transport needs."""
    development = settings.env is Environment.DEVELOPMENT
    return Transport(
        development=development,
        open_introspection=settings.open_introspection or development,
        graphql_get=settings.graphql_get,
        trusted_documents=settings.documents is DocumentsAllowed.TRUSTED,
        persisted_queries=settings.persisted_queries,
        deadline=settings.request_deadline,
        body=settings.request_bytes,
        in_flight=settings.request_concurrency,
        streams=settings.streams,
        stream_operations=settings.stream_operations,
        limits=replace(Limits(), **settings.limits()),
    )


@contextlib.contextmanager
def reserved(settings: Settings) -> Iterator[socket.socket]:
    """A socket bound to the address of `settings`, on which nobody listens yet. Raises `Unsafe` when it is taken."""
    host, port = settings.host, settings.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise Unsafe(f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port") from None
        yield bound


def address_of(bound: socket.socket) -> str:
    """Where a client of this machine finds a bound socket."""
    host, port = bound.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def serve(settings: Settings, *, opened: Opened = silent) -> None:
    """Serves in this process until SIGINT or SIGTERM; what is in flight at the end gets `GRACE` seconds.

    Raises `Unsafe` or `StoreUnavailable` before anybody is answered when something is not in order.
    """
    with reserved(settings) as bound:
        run(settings, bound, opened)


def run(settings: Settings, bound: socket.socket, opened: Opened, stops: tuple[int, ...] = STOPS) -> None:
    """Like `serve`, on a bound socket, which is closed when serving ends, until one of `stops`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, bound, opened, stops))


async def _serve(settings: Settings, bound: socket.socket, opened: Opened, stops: tuple[int, ...]) -> None:
    asyncio.get_running_loop().set_exception_handler(logs.unhandled)
    verifier(settings)  # what is wrong with its settings is refused before anything is opened
    async with house(settings, lasting=True) as it:
        tokens = verifier(settings, it.services.revocations.revoked)
        for hazard in hazards(settings, it.services.store.keys):
            _log.warning("%s", hazard)
        refreshing = asyncio.create_task(tokens.keep_fresh(settings.jwks_refresh), name="issuer keys")
        try:
            connections = Connections()
            application = _application(settings, it, tokens, connections)
            it.services.revocations.told = application.state.streams.look
            collect_seldom()
            config = _config(application, settings.request_bytes, settings.keep_alive)
            told = _Told(lambda: opened(address_of(bound)), application.state.streams.stop)
            await _Server(config, connections, stops, told, drain(settings)).serve([bound])
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing


def collect_seldom() -> None:
    """Lets the collector of garbage leave alone what stays as long as the process, and look for the rest less often.

    A list of a thousand patients makes a hundred thousand objects, none of them in a circle: looking through them again
    and again costs a fifteenth of the time of the answer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def hazards(settings: Settings, keys: KeySet) -> list[str]:
    """What is allowed, and often a slip: a line on each, for the log of a process that begins to serve."""
    lines = []
    if lacking := [use for use in (*KeyClass, "index") if use not in keys.states()]:
        lines.append(
            f"this process was given no keys for {', '.join(lacking)}: fields and searches that need them answer "
            "KEY_UNAVAILABLE"
        )
    if settings.env is Environment.PRODUCTION and settings.database_url.startswith("sqlite:"):
        folder = path_of(settings.database_url).resolve().parent
        if settings.erasure_journal.resolve().parent == folder:
            lines.append(
                f"the database and the erasure journal are both in {folder}: a copy of it that is put back brings both "
                "back, and erased patients with them; set HEED_ERASURE_JOURNAL (docs/keys.md)"
            )
        if settings.checkpoint_journal.resolve().parent == folder and not settings.witnesses:
            lines.append(
                f"the database and the checkpoint journal are both in {folder}, and no witness is set: nobody would "
                "notice that an older copy was put back; set HEED_CHECKPOINT_JOURNAL or HEED_WITNESSES"
            )
    return lines


def drain(settings: Settings) -> float:
    """Seconds in which a process that was told to end is not ready any more, and still answers."""
    if settings.drain is not None:
        return settings.drain
    return DRAIN if settings.env is Environment.PRODUCTION else 0.0


def _application(settings: Settings, it: House, tokens: TokenVerifier, connections: Connections) -> Starlette:
    async def readiness() -> Mapping[str, bool]:
        believed = tokens.ready and it.services.revocations.fresh  # else some good tokens are refused
        return {**await it.ready(), "issuers": believed, "staying": not connections.leaving}

    gateways = [entry.opened() for entry in settings.contact_policy.gateways]
    return create_app(
        it.services,
        tokens,
        transport(settings),
        readiness,
        logs=it.publisher.logs.values,
        gateways=gateways,
        hooks=it.couriers,
        feed=it.sequencer,
    )


def _config(application: Starlette, message_octets: int = 102_400, keep_alive: int = 5) -> uvicorn.Config:
    """`message_octets` bounds a WebSocket message before anything looks at it."""
    return uvicorn.Config(
        application,
        http=BoundedHttp,
        ws=BoundedWebSocket,
        ws_max_size=2 * message_octets,  # what is a little too large is the application's to refuse and to record
        ws_per_message_deflate=False,  # lengths would tell of secrets, and every socket would cost a window
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses and query strings are the audit log's business, which keeps no values
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=GRACE,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """Who is told that the server answers, and that its connections are about to end."""

    opened: Callable[[], None]
    stopping: Callable[[], None]


class _Server(uvicorn.Server):
    """A server that stops on the given signals and does not raise them again, so that the process ends in order.

    After SIGTERM it goes on to answer for `drain` seconds, is not ready, and lets go of each connection with its next
    answer: nobody's request meets a closed door (docs/decisions/0055). Any further signal ends that.
    """

    def __init__(
        self, config: uvicorn.Config, connections: Connections, stops: tuple[int, ...], told: _Told, drain: float
    ) -> None:
        super().__init__(config)
        self.server_state: Connections = connections
        self._stops = stops
        self._told = told
        self._drain = drain
        self._hurried = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told.opened()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal."""
        self._hurried = self.should_exit or sig != signal.SIGTERM
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leaves in order; connections that last end in their own way first."""
        self.server_state.leaving = True
        end = asyncio.get_running_loop().time() + self._drain
        tick = 0
        while not self._hurried and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.1)
            tick += 1
            await self.on_tick(tick)  # answers still carry the date
        self._told.stopping()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for stop in self._stops:
            loop.add_signal_handler(stop, self.handle_exit, stop, None)
        try:
            yield
        finally:
            for stop in self._stops:
                loop.remove_signal_handler(stop)
