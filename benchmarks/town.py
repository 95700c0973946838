"""A small town for one measurement: keys, a broker and a fleet manager as real processes, and cabinets to be started."""

import re
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from agent.model.identity import CityId, GatewayId
from agent.wire.demotrust import make_demo_trust
from benchmarks.child import BenchError, Child
from benchmarks.machine import ROOT

CITY = CityId("dijon")
PROFILES = ROOT / "configs" / "profiles"
HTTP_TIMEOUT_S = 10.0
CONNECT_S = 0.2

SITE = """
[site]
city = "{city}"
gateway = "{gateway}"
name = "{gateway}"

[fleet]
broker = "mqtt://127.0.0.1:{broker}"

[agent]
poll_ms = {poll_ms}
profiles = "{profiles}"
state = "state"
"""
POINTS = """
[[points]]
id = "{id}"
name = "{id}"
position = [47.3222, 5.0411]
modbus = {{ address = "127.0.0.1:{port}", unit = {unit}, profile = "{profile}" }}
"""


class Town:
    """Broker and manager that run, and a place for cabinets."""

    def __init__(self, folder: Path, broker: int, fleet: Child, url: str) -> None:
        self.folder = folder
        self.broker = broker
        self.fleet = fleet
        self.url = url

    def site(self, gateway: str, poll_ms: int, equipment: str, profiles: Path = PROFILES) -> Path:
        """Write a cabinet's site file beside its keys."""
        home = self.folder / gateway
        home.mkdir()
        head = SITE.format(city=CITY, gateway=gateway, broker=self.broker, poll_ms=poll_ms, profiles=profiles)
        path = home / "site.toml"
        path.write_text(head + equipment)
        (home / "state").mkdir()
        shutil.copytree(self.folder / "trust" / "gateways" / gateway, home / "state" / "keys")
        return path

    def agent(self, site: Path) -> Child:
        """Start a cabinet's agent."""
        return Child(("-m", "agent.runtime", str(site)), site.parent / "log")

    def figure(self, name: str) -> float:
        """One of the manager's own counters."""
        with urlopen(f"{self.url}/metrics", timeout=HTTP_TIMEOUT_S) as answer:
            text = answer.read().decode()
        found = re.search(rf"^armoire_fleet_{name}(?:_total)? (\S+)$", text, re.MULTILINE)
        if found is None:
            raise BenchError(f"the manager tells no {name}")
        return float(found.group(1))


@contextmanager
def town(folder: Path, gateways: Sequence[str]) -> Iterator[Town]:
    """Run broker and manager for the length of the block; they know these gateways' keys."""
    trust = folder / "trust"
    make_demo_trust(trust, CITY, gateways, now_ms=time.time_ns() // 1_000_000)
    (folder / "fleet").mkdir()
    port = free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(
            Child(("-m", "simulators.broker", str(port), str(folder / "broker")), folder / "broker.log")
        )
        broker.wait_for("the broker listens", lambda: listens(port))
        arguments = ("-m", "fleet.cli", "serve", "--dir", str(folder / "fleet"), "--trust", str(trust))
        where = ("--broker", f"mqtt://127.0.0.1:{port}", "--http", "127.0.0.1:0")
        fleet = stack.enter_context(Child((*arguments, *where), folder / "fleet.log"))
        fleet.wait_for("the manager listens", lambda: "ready http" in fleet.said())
        found = re.search(r"ready (http://\S+?)/?\s", fleet.said())
        assert found is not None
        made = Town(folder, port, fleet, found.group(1))
        fleet.wait_for("the manager is on the broker", lambda: made.figure("broker_connected"))
        yield made


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(CONNECT_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def topic_of(gateway: str, message_class: str) -> str:
    """Where a gateway's messages of one kind are published."""
    direction = "down" if message_class == "ack" else "up"
    return f"armoire/1/{CITY}/{GatewayId(gateway)}/{direction}/{message_class}"
