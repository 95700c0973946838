"""A small city of real parts: two mosquittos with mutual TLS, a manager, two cabinets, and a line to each that can fail.

What is real: every process, every socket, every certificate, every database. The two brokers do not know each other; the
manager is on both, each cabinet on one of them, and goes to the other when that fails. What is not: lamps, photocell and
signal controller (simulators in this process, which count).
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

from agent.process.client import LocalClient, PeerDownError
from agent.wire.demotrust import make_demo_trust, sign_demo_site
from agent.wire.local import GetStatus, Status
from fleet import authority
from fleet.authority import Issuer
from simulators.cabinet import LEVEL_0, Cabinet
from simulators.lighting import SEGMENTS
from simulators.line import Line
from simulators.modbus_frame import Table
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.chaos.http import ask
from tests.chaos.kept import Kept
from tests.fleet.broker import free_port
from tests.fleet.city import CITY, RealBroker, certify, certify_manager, make_authority
from tests.referee import wired
from tests.tree import ROOT

LIGHTING, JUNCTION, ROOM = "gw-darcy", "gw-republique", "control-room"
GATEWAYS = (LIGHTING, JUNCTION)
OPERATORS = ("alice", "bruno")
ROOMS = ("room-a", "room-b")
PARTIES = (*GATEWAYS, ROOM)
SITES = ROOT / "configs" / "sites"
POLL_MS = {LIGHTING: 200, JUNCTION: 500}
ASK_S = 3.0
COUNTED = "illuminance"
LUX_BEFORE = 500
Level = tuple[float, int, int]
"""A level written to the lighting cabinet: monotonic seconds, segment, percent."""


class Plant:
    """Everything that runs, and hands on it. Use ``async with Plant.running(mosquitto) as plant``."""

    def __init__(self, folder: Path, cabinet: Cabinet, signals: SignalCabinet) -> None:
        self.folder = folder
        self.cabinet, self.signals = cabinet, signals
        self.programs: dict[str, Kept] = {}
        self.lines: dict[str, Line] = {}
        self.rooms: dict[str, int] = {}
        """Port of each broker."""
        self.http = free_port()
        self.levels: list[Level] = []
        self.scans: list[float] = []
        """When the signal controller was asked something, monotonic seconds."""
        cabinet.set(lux=LUX_BEFORE)
        self.lux: list[int] = [LUX_BEFORE]
        """Every value the photocell ever showed, in order."""
        self._count()

    def _count(self) -> None:
        """Count at the devices, whoever it is that asks or writes."""
        accept, answer = self.cabinet.model.accept, self.signals.responder.answer

        def write(table: Table, address: int, values: tuple[int, ...]) -> None:
            accept(table, address, values)
            if table is Table.HOLDINGS:
                now_s = time.monotonic()
                levels = dict(enumerate(values, start=address - LEVEL_0))
                self.levels += [(now_s, n, level) for n, level in levels.items() if 0 <= n < SEGMENTS]

        def scan(datagram: bytes) -> bytes | None:
            self.scans.append(time.monotonic())
            return answer(datagram)

        self.cabinet.model.accept = write  # type: ignore[method-assign]
        self.signals.responder.answer = scan  # type: ignore[method-assign]

    @classmethod
    @asynccontextmanager
    async def running(cls, mosquitto: Path) -> AsyncIterator["Plant"]:
        """Start everything and wait until the manager has heard of both cabinets."""
        communities = Communities("dijon-read", "dijon-write")
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="armc-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            cabinet = await stack.enter_async_context(Cabinet.serve())
            judged_signals = wired(
                lambda monitor: SignalCabinet.serve(communities=communities, started=True, monitor=monitor)
            )
            signals, _ = await stack.enter_async_context(judged_signals)
            plant = cls(folder, cabinet, signals)
            stack.push_async_callback(plant.stop)
            await asyncio.to_thread(plant._lay_out, mosquitto)
            for party, room in product(PARTIES, ROOMS):
                line = Line.serve(plant.rooms[room])
                plant.lines[f"{party}/{room}"] = await stack.enter_async_context(line)
            plant._write_sites()
            for each in plant.programs.values():
                each.start()
            await plant.wait("both cabinets are heard", plant._all_heard, 60)
            yield plant

    def _lay_out(self, mosquitto: Path) -> None:
        now_ms = time.time_ns() // 1_000_000
        make_demo_trust(self.folder / "trust", CITY, GATEWAYS, OPERATORS, now_ms=now_ms)
        issuer = make_authority(self.folder / "ca")
        for room in ROOMS:
            self._lay_out_room(room, mosquitto, issuer)
        certify_manager(issuer, self.folder / "fleet" / "tls", ROOM)
        for gateway in GATEWAYS:
            state = self.folder / gateway / "state"
            shutil.copytree(self.folder / "trust" / "gateways" / gateway, state / "keys")
            certify(issuer, gateway, state / "tls")

    def _lay_out_room(self, room: str, mosquitto: Path, issuer: Issuer) -> None:
        broker = RealBroker(mosquitto, self.folder / room, issuer)
        folder = self.folder / room
        shutil.copy(issuer.folder / authority.CRL, folder / "crl.pem")
        (folder / "mosquitto.conf").write_text(broker.conf)
        (folder / "acl").write_text(broker.acl)
        self.rooms[room] = broker.port
        self._keep(room, str(mosquitto), "-c", str(folder / "mosquitto.conf"))

    def _keep(self, name: str, *arguments: str) -> None:
        self.programs[name] = Kept(name, arguments, self.folder / f"{name}.log")

    def _write_sites(self) -> None:
        wires = {
            "127.0.0.1:15020": self.cabinet.port,
            "127.0.0.1:15021": self.cabinet.port,
            "127.0.0.1:16161": self.signals.port,
        }
        where = ("--dir", str(self.folder / "fleet"), "--trust", str(self.folder / "trust"))
        brokers = [word for line in self.lines_of(ROOM) for word in ("--broker", f"mqtts://127.0.0.1:{line.port}")]
        http = f"127.0.0.1:{self.http}"
        self._keep("fleet", "-m", "fleet.cli", "serve", *where, *brokers, "--http", http)
        for gateway in GATEWAYS:
            text = (SITES / f"{gateway}.toml").read_text()
            for written, port in wires.items():
                text = text.replace(written, f"127.0.0.1:{port}")
            listed = [f"mqtts://127.0.0.1:{line.port}" for line in self.lines_of(gateway)]
            text = text.replace('"mqtt://127.0.0.1:1883"', json.dumps(listed))
            text = text.replace('"../profiles"', f'"{SITES.parent / "profiles"}"')
            text = text.replace("poll_ms = 500", f"poll_ms = {POLL_MS[gateway]}")
            site = self.folder / gateway / "site.toml"
            site.write_text(text)
            sign_demo_site(self.folder / "trust", site, time.time_ns() // 1_000_000)
            self._keep(f"agent {gateway}", "-m", "agent.runtime", str(site))
        self._keep("guard", "-m", "agent.guard", str(self.folder / JUNCTION / "site.toml"))

    def lines_of(self, target: str) -> list[Line]:
        """Both lines of a party, or the one called ``party/room``."""
        return [line for name, line in self.lines.items() if target in {name, name.partition("/")[0]}]

    async def stop(self) -> None:
        """End every process in order: cabinets, manager, brokers."""
        for name in reversed(self.programs):
            await self.programs[name].stop()

    async def status(self, gateway: str, process: str) -> Status | None:
        """What agent or guard says of itself; None if it does not answer."""
        client = LocalClient(self.folder / gateway / "state" / f"{process}.sock")
        try:
            reply = await client.ask(GetStatus(), ASK_S)
        except PeerDownError:
            return None
        finally:
            await client.close()
        return reply if isinstance(reply, Status) else None

    async def get(self, path: str) -> Any:
        """GET from the manager; None if it does not answer."""
        return await asyncio.to_thread(ask, f"http://127.0.0.1:{self.http}{path}", None, ASK_S)

    async def wait(self, what: str, is_so: Callable[[], Awaitable[bool]], timeout_s: float) -> float:
        """Wait until an asynchronous condition holds; return the seconds it took.

        Raises:
            AssertionError: it did not in time.
        """
        began_s = time.monotonic()
        while not await is_so():
            waited_s = time.monotonic() - began_s
            assert waited_s < timeout_s, f"waited {timeout_s:.0f} s in vain: {what}\n{self.tail()}"
            await asyncio.sleep(0.1)
        return time.monotonic() - began_s

    async def _all_heard(self) -> bool:
        found = await self.get("/api/gateways")
        return found is not None and sum(each["link"] == "up" and each["equipment"] > 0 for each in found) == 2

    def tail(self, lines: int = 12) -> str:
        """The ends of all logs."""
        ends = []
        for name, each in self.programs.items():
            text = each.log.read_text(errors="replace").splitlines() if each.log.exists() else []
            ends.append("\n".join((f"--- {name}", *text[-lines:])))
        return "\n".join(ends)
