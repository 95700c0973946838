"""A control room and a failover room: two managers and two mosquittos as real processes, and cabinets that count.

A cabinet here is the agent's own journal, courier and command gate; only the equipment behind it is missing. It notes every
record it sealed and every command it carried out, so that both ends can be compared.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from agent.model.identity import GatewayId
from agent.model.observation import ClockQuality, PointValue, Quality
from agent.process.clock import Clock
from agent.runtime.backoff import Backoff
from agent.runtime.courier import Courier
from agent.runtime.journal import Journal
from agent.runtime.mqtt import Broker
from agent.runtime.sources import JournalLinks
from agent.wire.demotrust import make_demo_trust
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.keyfile import read_signer
from agent.wire.messages import SCHEMA, Birth, EquipmentCard, Heartbeat, IssuerCounter, Outcome, StreamHead, encode
from agent.wire.rejections import Notice
from agent.wire.roots import read_roots
from agent.wire.topics import Topic, parse, up
from agent.wire.trust import KeyRing, load_key_list
from benchmarks.child import BenchError, Child
from benchmarks.town import CITY, HTTP_TIMEOUT_S, free_port, listens

NAMES = ("control-room", "failover-room")
SHARED_STORE, OWN_STORES = "shared store", "own stores"
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
"""
EXECUTE = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
SEGMENT = EquipmentCard("segment-1", "segment", "Segment", 47.322, 5.0411, "agent", ["set-level"], "")
EVERY_S = 0.1
AFTER_A_LONG_SESSION = Backoff(1.0, 1.0)
"""A cabinet whose connection lasted for over a minute waits for at most so long; here none lasts, because brokers are killed."""


@dataclass
class Room:
    """One manager, as a process."""

    name: str
    child: Child
    url: str

    def ask(self, path: str, body: object = None) -> Any:
        """Its API's answer; an error's, too."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"content-type": "application/json"})
        try:
            with urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            return json.load(error)

    @property
    def is_leading(self) -> bool:
        """As it says itself; False if it does not answer."""
        try:
            return bool(self.ask("/api/health")["role"] == "leading")
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Stop, continue or kill it."""
        self.child.process.send_signal(number)
        if number == signal.SIGKILL:
            self.child.process.wait(10)


class Rooms:
    """Both rooms. Use ``with rooms(...)``."""

    def __init__(self, folder: Path, arrangement: str, program: str, gateways: list[str]) -> None:
        self.folder = folder
        self.trust = folder / "trust"
        self.ports = (free_port(), free_port())
        self._arrangement = arrangement
        self._program = program
        self._stack = contextlib.ExitStack()
        make_demo_trust(self.trust, CITY, gateways, now_ms=time.time_ns() // 1_000_000)
        self.ring: KeyRing = load_key_list(
            (self.trust / "keys.sealed").read_bytes(), read_roots((self.trust / "roots.toml").read_text())
        )
        try:
            self.brokers = [self.broker(place) for place in (0, 1)]
            started = [(name, self._start(name)) for name in NAMES]
            self.managers = {name: self._ready(name, child) for name, child in started}
        except BaseException:  # Whatever it was: no process is left behind.
            self.close()
            raise

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def broker(self, place: int) -> Child:
        """Start a broker, also anew."""
        port = self.ports[place]
        conf = self.folder / f"mosquitto-{place}.conf"
        conf.write_text(MOSQUITTO.format(port=port))
        child = Child(("-c", EXECUTE, self._program, "-c", str(conf)), self.folder / f"mosquitto-{place}.log")
        self._stack.enter_context(child)
        child.wait_for("the broker listens", lambda: listens(port))
        return child

    def manager(self, name: str) -> Room:
        """Start a manager, also anew."""
        return self._ready(name, self._start(name))

    def _start(self, name: str) -> Child:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        log = home / f"log-{time.monotonic_ns()}"
        where = (
            ("--store", str(self.folder / "shared.db"))
            if self._arrangement == SHARED_STORE
            else ("--lease", str(self.folder / "lease.db"))
        )
        brokers = [word for port in self.ports for word in ("--broker", f"mqtt://127.0.0.1:{port}")]
        words = ("serve", "--dir", str(home), "--trust", str(self.trust), "--fleet", name, "--http", "127.0.0.1:0")
        return self._stack.enter_context(Child(("-m", "fleet.cli", *words, *brokers, *where), log))

    def _ready(self, name: str, child: Child) -> Room:
        child.wait_for("the manager listens", lambda: "ready http" in child.said())
        found = re.search(r"ready (http://\S+?)/?\s", child.said())
        assert found is not None
        return Room(name, child, found.group(1))

    def database(self, name: str) -> Path:
        """Where a manager stores."""
        shared = self._arrangement == SHARED_STORE
        return self.folder / "shared.db" if shared else self.folder / name / "fleet.db"

    def stored(self, manager: Room, gateway: str) -> list[int]:
        """Numbers of a gateway's records, in the order in which a manager stored them."""
        query = (
            "SELECT seq FROM links JOIN gateways ON gateways.no = gateway_no "
            "WHERE stream = 'state' AND id = ? ORDER BY links.no"
        )
        with closing(sqlite3.connect(f"file:{self.database(manager.name)}?mode=ro", uri=True)) as database:
            return [seq for (seq,) in database.execute(query, (gateway,))]

    def compared(self, manager: Room, cabinets: Iterable["Cabinet"]) -> tuple[int, int]:
        """How many acknowledged records a manager lacks, and how many it stored twice or out of order."""
        lost = double = 0
        for each in cabinets:
            held = self.stored(manager, each.name)
            lost += len(set(range(1, each.acked + 1)) - set(held))
            double += sum(later <= earlier for earlier, later in pairwise(held))
        return lost, double

    def leader(self, timeout_s: float = 30.0) -> Room:
        """Whoever leads, once somebody does."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            for manager in self.managers.values():
                if manager.child.process.poll() is None and manager.is_leading:
                    return manager
            time.sleep(0.02)
        raise BenchError(f"no manager leads: {[each.child.said()[-1500:] for each in self.managers.values()]}")

    def other(self, manager: Room) -> Room:
        """The one of the two that it is not."""
        return next(each for each in self.managers.values() if each.name != manager.name)


@contextlib.contextmanager
def rooms(folder: Path, arrangement: str, gateways: list[str]) -> Iterator[Rooms]:
    """Both rooms for the length of the block."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("mosquitto is not installed: see scripts/system-packages")
    made = Rooms(folder, arrangement, program, gateways)
    try:
        yield made
    finally:
        for manager in made.managers.values():
            if manager.child.process.poll() is None:
                manager.signal(signal.SIGCONT)  # One that is stopped would not hear that it should end.
        made.close()


@dataclass
class Cabinet:
    """One gateway, in this process."""

    name: str
    rooms: Rooms
    journal: Journal
    courier: Courier = field(init=False)
    sealed: list[tuple[int, float]] = field(default_factory=list)
    """Number and monotonic time of every record."""
    executed: list[str] = field(default_factory=list)
    is_producing: bool = True

    def __post_init__(self) -> None:
        """Find its keys."""
        keys = self.rooms.trust / "gateways" / self.name
        self.signer = read_signer(keys / "agent.pem")
        self._clock = Clock()
        self._gate = CommandGate(self.rooms.ring, Nonces(os.urandom, self._clock.now_ms()))
        brokers = [Broker("127.0.0.1", port) for port in self.rooms.ports]
        self.courier = Courier(
            CITY, self.name, brokers, self.signer, lambda: self.rooms.ring, (JournalLinks(self.journal),), self,
            self._clock, lambda: self.journal.next_number("conn"), dice=random.Random(self.name), heartbeat_s=1.0,
            backoff=AFTER_A_LONG_SESSION,
        )  # fmt: skip

    @property
    def acked(self) -> int:
        """The newest record the fleet has acknowledged."""
        head = self.journal.acked.get("state")
        return 0 if head is None else head.seq

    async def produce(self) -> None:
        """Seal a record every 0.1 s."""
        while self.is_producing:
            value = PointValue("segment-1/n", len(self.sealed), Quality.GOOD, self._clock.unix_ms())
            head = await self.journal.append_samples("state", [value])
            self.sealed.append((head.seq, time.monotonic()))
            await asyncio.sleep(EVERY_S)

    def _nonces(self) -> dict[str, bytes]:
        return {"agent": self._gate.nonces.current(self._clock.now_ms())}

    async def birth(self, conn: int, heads: list[StreamHead], floors: list[StreamHead]) -> Birth:
        """Introduce itself."""
        counters = [IssuerCounter(kid, counter) for kid, counter in self.journal.counters.items()]
        now_ms = self._clock.unix_ms()
        return Birth(self.name, conn, self.name, now_ms, 2, self._nonces(), counters, heads, [SEGMENT], "bench", floors)

    async def heartbeat(self, conn: int, beat: int, heads: list[StreamHead]) -> Heartbeat:
        """Say that it is there."""
        return Heartbeat(self.name, conn, beat, self._clock.unix_ms(), 2, self._nonces(), {}, heads, 0)

    async def command(self, sealed: bytes, topic: str) -> bytes | None:
        """Judge a command as a cabinet does, and count it instead of carrying it out."""
        now_ms, unix_ms = self._clock.now_ms(), self._clock.unix_ms()
        admitted = self._gate.admit(sealed, parse(topic), self.journal.counters, now_ms, unix_ms, ClockQuality.NETWORK)
        if not isinstance(admitted, Admitted):
            return None
        await self.journal.store_counter(admitted.kid, admitted.counter)
        message = admitted.message
        self.executed.append(message.command_id)
        outcome = Outcome(
            SCHEMA, message.command_id, self.name, message.equipment, message.verb, admitted.kid, "done", "", "counted",
            "as asked", unix_ms,
        )  # fmt: skip
        return self.signer.seal(encode(outcome), up(CITY, GatewayId(self.name), "result"))

    async def key_list(self, sealed: bytes) -> None:
        """There is only one."""

    async def desired(self, topic: Topic, sealed: bytes) -> None:
        """It follows none."""

    async def link_changed(self, text: str, *, is_up: bool) -> None:
        """The courier's own figures tell."""

    def rejected(self, notice: Notice) -> None:
        """Counted by the courier."""


@contextlib.asynccontextmanager
async def cabinet(name: str, both: Rooms) -> AsyncIterator[Cabinet]:
    """A cabinet that lives, and seals a record every 0.1 s, for the length of the block."""
    home = both.folder / name
    home.mkdir(exist_ok=True)
    signer = read_signer(both.trust / "gateways" / name / "agent.pem")
    async with Journal(home / "journal.db", signer, CITY, name, Clock()) as journal:
        made = Cabinet(name, both, journal)
        tasks = [asyncio.ensure_future(made.courier.run()), asyncio.ensure_future(made.produce())]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for something to become true.

    Raises:
        TimeoutError: it did not.
    """
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)
