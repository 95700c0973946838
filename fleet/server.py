"""One manager as a process: the control room, its link to the broker, and the web server, until told to stop."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
from litestar.types import ASGIApp
from structlog.tracebacks import ExceptionDictTransformer

from fleet.api import make_app
from fleet.arrangement import Arrangement, place_of
from fleet.authority import read_issuer
from fleet.control_room import ControlRoom, unix_ms
from fleet.enrolment import Enrolments
from fleet.errors import FolderError
from fleet.exhaustion import Exhaustion
from fleet.folder import ROOTS_FILE, Trust, owned, read_trust
from fleet.link import Broker, read_broker
from fleet.origin import Origins
from fleet.routes import Routes

STOP_S = 1.0
"""How long open requests may finish once we are told to stop."""
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Args:
        folder: where the database is. trust: where keys and key list are. brokers: their addresses, at least one.
        host: an address, or ``localhost``. names: further host names the console may be opened under.
        is_open: other machines may connect.
        store: a database shared with another manager. lease: where the lease is if each has a database of its own.
        address: where the other manager and people reach this one, empty for where it listens.
        authority: folder of the certificate authority, None if nobody can join here. passphrase: of its issuing key.
    """

    folder: Path
    trust: Path
    fleet: str
    brokers: tuple[str, ...]
    host: str
    port: int
    is_open: bool = False
    names: tuple[str, ...] = ()
    authority: Path | None = None
    passphrase: bytes | None = None
    store: str = ""
    lease: str = ""
    address: str = ""


class WebServer(uvicorn.Server):
    """Uvicorn, saying when it listens and leaving signals to us."""

    def __init__(self, app: ASGIApp, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(STOP_S),
            server_header=False,
            ws="none",
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets=sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has one place that hears signals, and it is not here."""
        yield


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        FolderError: keys, database, broker address or one of our own addresses cannot be used.
    """
    if settings.address or settings.store or settings.lease:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        check_told(settings.address or f"http://{host}/")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(Exhaustion())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    brokers = [read_broker(each, settings.folder) for each in settings.brokers]
    trust = read_trust(settings.trust)
    with owned(settings.folder), closing(_listen(settings)) as listening:
        await _serve_on(listening, settings, trust, brokers, stop)
    structlog.get_logger("fleet").info("stopped")


async def _serve_on(
    listening: socket.socket, settings: Settings, trust: Trust, brokers: Sequence[Broker], stop: asyncio.Event
) -> None:
    address = listening.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"http://{host}:{address[1]}/"
    told = settings.address or url
    arrangement = Arrangement(place_of(settings.store), place_of(settings.lease), told)
    names = (*settings.names, str(urlsplit(told).hostname)) if settings.address else settings.names
    origins = Origins(names, any_address=settings.is_open)
    room = ControlRoom(settings.fleet, settings.folder, settings.trust, trust, arrangement)
    joining = enrolments(settings, room)
    web = WebServer(make_app(room, origins, joining), lambda: print(f"ready {url}", flush=True))  # noqa: T201 - who started us waits for it
    structlog.get_logger("fleet").info("started", city=room.city, fleet=room.fleet, term=room.term, url=told)
    async with asyncio.TaskGroup() as tasks:
        inside = [tasks.create_task(room.run()), tasks.create_task(Routes(room, brokers).run())]
        serving = tasks.create_task(web.serve(sockets=[listening]))
        waiting = tasks.create_task(stop.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        room.broadcast.end()
        web.should_exit = True
        for task in (*inside, waiting):
            task.cancel()


def enrolments(settings: Settings, room: ControlRoom) -> Enrolments | None:
    """Who may join, if there is an authority.

    Raises:
        CertificateError, FolderError: it cannot be used.
    """
    if settings.authority is None:
        return None
    opened = partial(read_issuer, settings.authority, settings.passphrase)
    opened()
    try:
        roots = (settings.trust / ROOTS_FILE).read_text()
        return Enrolments(
            room.city, settings.folder, opened, lambda: room.ring, lambda: (roots, room.ring.sealed), unix_ms
        )
    except OSError as error:
        raise FolderError(f"{error.filename}: {error.strerror}") from error


def check_address(host: str, *, is_open: bool) -> None:
    """Other machines may connect only if that was said in so many words: there is no login.

    Raises:
        FolderError: they could, and it was not.
    """
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not is_open:
        raise FolderError(
            f"--http {host}: other machines could connect, and the console has no login yet. "
            "Use 127.0.0.1, or add --listen if a proxy in front of it asks for a login"
        )


def check_told(url: str) -> None:
    """What the other manager and people are told must lead to us: ``0.0.0.0`` leads whoever asks to himself.

    Raises:
        FolderError: it cannot.
    """
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme == "http" and parts.path in {"", "/"} and parts.port != 0
        host = parts.hostname or ""
    except ValueError:
        is_whole, host = False, ""
    if not is_whole or not host:
        raise FolderError(f"--address: expected http://host:port, found {url[:200]!r}")
    try:
        is_nowhere = ip_address(host).is_unspecified
    except ValueError:
        is_nowhere = False
    if is_nowhere:
        raise FolderError(
            f"{url}: nobody on another machine reaches this manager there; "
            "say by --address http://host:port where the other manager does"
        )


def _listen(settings: Settings) -> socket.socket:
    check_address(settings.host, is_open=settings.is_open)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise FolderError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
    return listening


def log_to_stderr() -> None:
    """JSON lines, one event each, only when something changes."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: they could hold a key.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
