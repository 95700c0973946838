"""A demonstration city's keys, brokers, and managers that really run."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing

from agent.model.identity import CityId, GatewayId
from agent.wire.demotrust import make_demo_trust
from agent.wire.keyfile import read_signer
from fleet.api import make_app
from fleet.control_room import ControlRoom
from fleet.folder import Trust, read_trust
from fleet.link import Broker
from fleet.origin import Origins
from fleet.routes import Routes
from fleet.server import Settings, WebServer, enrolments
from tests.fleet import broker
from tests.fleet.intake import Bench
from tests.fleet.standin import LiveGateway, StandIn

CITY = CityId("dijon")
GATEWAYS = ("gw-darcy", "gw-monge", "gw-rude")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged; and whatever a test does to logging ends with it."""
    before = structlog.get_config()
    with structlog.testing.capture_logs() as entries:
        yield entries
    structlog.configure(**before)


@pytest.fixture(scope="session")
def trust_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust")
    make_demo_trust(folder, CITY, GATEWAYS, now_ms=time.time_ns() // 1_000_000)
    return folder


@pytest.fixture
def trust(trust_folder: Path) -> Trust:
    return read_trust(trust_folder)


@pytest.fixture
def standin(trust_folder: Path) -> Callable[..., StandIn]:
    def make(gateway: str = GATEWAYS[0], **fields: Any) -> StandIn:
        keys = trust_folder / "gateways" / gateway
        agent, guard = read_signer(keys / "agent.pem"), read_signer(keys / "guard.pem")
        return StandIn(CITY, GatewayId(gateway), agent, guard, **fields)

    return make


@pytest.fixture
def bench(tmp_path: Path, trust: Trust) -> Iterator[Bench]:
    made = Bench(tmp_path / "fleet.db", trust)
    yield made
    made.store.close()


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    with broker.iotcore(tmp_path) as port:
        yield port


@dataclass
class Running:
    """A manager with its sockets, inside the test's own loop."""

    room: ControlRoom
    url: str
    http: httpx.AsyncClient
    port: int

    def live(self, voice: StandIn) -> LiveGateway:
        return LiveGateway(voice, self.room.ring, self.port)


@contextlib.asynccontextmanager
async def running(
    folder: Path, trust_folder: Path, port: int | Broker, fleet: str = "control-room", authority: Path | None = None
) -> AsyncIterator[Running]:
    """Run a manager for the length of the block.

    Args:
        port: of a broker without TLS on this machine, or where another one is.
    """
    broker = Broker("127.0.0.1", port) if isinstance(port, int) else port
    room = ControlRoom(fleet, folder, trust_folder, read_trust(trust_folder))
    link = Routes(room, [broker])
    ready = asyncio.Event()
    settings = Settings(folder, trust_folder, fleet, (), "", 0, authority=authority)
    web = WebServer(make_app(room, Origins(), enrolments(settings, room)), ready.set)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(base_url=url, timeout=20) as http:
        inside = [tasks.create_task(room.run()), tasks.create_task(link.run())]
        serving = tasks.create_task(web.serve(sockets=[listening]))
        async with asyncio.timeout(10):
            await ready.wait()
            while not room.link.is_connected:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.01)
        try:
            yield Running(room, url, http, broker.port)
        finally:
            room.broadcast.end()
            web.should_exit = True
            await asyncio.wait([serving], timeout=5)
            for task in inside:
                task.cancel()
            listening.close()


@pytest.fixture
async def manager(tmp_path: Path, trust_folder: Path, broker_port: int) -> AsyncIterator[Running]:
    async with running(tmp_path, trust_folder, broker_port) as inside:
        yield inside


async def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)
