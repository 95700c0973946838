"""``armoire-sim district``: a whole district on one machine, real processes on real wires.

Embedded broker, three cabinets with their simulated hardware, fleet manager. Everything is restarted when it ends, so
any process may be killed to see what happens. Ctrl-C stops all of it.
"""

import asyncio
import fcntl
import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console

from agent.cli.supervisor import Program, Supervisor
from agent.wire.demotrust import COMMISSIONER_FILE, make_demo_trust, sign_demo_site
from simulators.control_socket import ControlError, ask

CITY = "dijon"
GATEWAYS = ("gw-darcy", "gw-republique", "gw-liberation")
OPERATORS = ("alice", "bruno")
SITES = Path(__file__).resolve().parent.parent / "configs" / "sites"
PROFILES = SITES.parent / "profiles"
READY_TIMEOUT_S = 60.0
DUSK_LUX = 5
EXIT_FAILED = 1
BROKER, HARDWARE, FLEET, CABINETS = range(4)
_WIRES = {  # the addresses written in configs/sites
    "lighting": "127.0.0.1:15020",
    "presence": "127.0.0.1:15021",
    "bollards": "127.0.0.1:15022",
    "signals": "127.0.0.1:16161",
    "broker": "127.0.0.1:1883",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens on 127.0.0.1."""

    broker: int
    http: int
    wires: dict[str, int]


class FolderInUseError(Exception):
    """Somebody else's folder."""


def free_ports(count: int) -> list[int]:
    """Ports that were free for TCP and UDP a moment ago."""
    taken: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken += (tcp, udp)
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    finally:
        for each in taken:
            each.close()
    return ports


def choose_ports(http: int) -> Ports:
    """The console on ``http`` if it is free, everything else wherever there is room."""
    broker, spare, *rest = free_ports(7)
    if http == 0:
        http = spare
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", http))
        except OSError:
            http = spare
    wires = ("lighting", "presence", "bollards", "signals", "monitor")
    return Ports(broker, http, dict(zip(wires, rest, strict=True)))


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make a folder for a district, or take one up, and keep a second district off it.

    Raises:
        FolderInUseError: it holds something else, of which nothing was touched, or a district runs in it.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "district.lock"
    if not lock.exists() and not (folder / "trust").exists() and any(folder.iterdir()):
        raise FolderInUseError(f"{folder} holds something else than a district: name an empty folder or a new one")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUseError(f"a district runs in {folder} already: stop it, or name another folder") from error
        yield


def lay_out(folder: Path, ports: Ports) -> None:
    """Make keys, site files and state folders; keep them if they are there, so that a second run goes on.

    Site files are the examples of ``configs/sites`` with the simulators' own addresses, signed for the demonstration.

    Raises:
        FolderInUseError: the keys are of a version that did not sign site files.
    """
    trust, half_made = folder / "trust", folder / "trust.making"
    if trust.exists() and not (trust / COMMISSIONER_FILE).exists():
        raise FolderInUseError(f"{folder} holds a district of an older version: delete it, or name another folder")
    if not trust.exists():
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        make_demo_trust(half_made, CITY, GATEWAYS, OPERATORS, now_ms=time.time_ns() // 1_000_000)
        half_made.rename(trust)
    (folder / "fleet").mkdir(exist_ok=True)
    addresses = {**ports.wires, "broker": ports.broker}
    del addresses["monitor"]  # It hears lamps, not us.
    for gateway in GATEWAYS:
        home = folder / gateway
        home.mkdir(parents=True, exist_ok=True)
        text = (SITES / f"{gateway}.toml").read_text()
        for wire, written in _WIRES.items():
            text = text.replace(written, f"127.0.0.1:{addresses[wire]}")
        text = text.replace('"../profiles"', f'"{PROFILES}"')
        (home / "site.toml").write_text(text)
        sign_demo_site(trust, home / "site.toml", time.time_ns() // 1_000_000)
        keys = home / "state" / "keys"
        if not keys.exists():
            keys.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(trust / "gateways" / gateway, keys)


def programs(folder: Path, ports: Ports) -> tuple[Program, ...]:
    """Every process of the district, in the order they start."""
    python = sys.executable
    simulator = (python, "-m", "simulators.cli")
    control = folder / "control"
    control.mkdir(exist_ok=True)

    def hardware(name: str, kind: str, *more: str) -> Program:
        port = ports.wires[name]
        place = str(control / f"{name}.sock")
        return Program(name, (*simulator, kind, "--port", str(port), "--control", place, *more), HARDWARE)

    fleet = (
        *(python, "-m", "fleet.cli", "serve", "--dir", str(folder / "fleet"), "--trust", str(folder / "trust")),
        *("--broker", f"mqtt://127.0.0.1:{ports.broker}", "--http", f"127.0.0.1:{ports.http}"),
    )
    return (
        Program("broker", (python, "-m", "simulators.broker", str(ports.broker), str(folder / "broker")), BROKER),
        hardware("lighting", "cabinet"),
        hardware("presence", "cabinet"),
        hardware("bollards", "bollards", "--count", "3"),
        hardware(
            "signals",
            "controller",
            *("--read-community", "dijon-read", "--write-community", "dijon-write"),
            *("--monitor", f"127.0.0.1:{ports.wires['monitor']}"),
        ),
        hardware("monitor", "monitor", "--latch", str(folder / "monitor.latch")),
        Program("fleet", fleet, FLEET),
        *(
            Program(gateway, (python, "-m", "agent.cli", "run", str(folder / gateway / "site.toml")), CABINETS)
            for gateway in GATEWAYS
        ),
    )


async def _when_ready(url: str, console: Console, folder: Path) -> None:
    """Show progress until every cabinet's state has arrived at the fleet, then say what to try."""
    started_s = time.monotonic()
    with console.status("starting the district") as status:
        while (waited_s := time.monotonic() - started_s) < READY_TIMEOUT_S:
            up, has_state = await asyncio.to_thread(_census, url)
            if up == len(GATEWAYS) and has_state:
                break
            status.update(f"starting the district: {up} of {len(GATEWAYS)} cabinets have reported ({waited_s:.0f} s)")
            await asyncio.sleep(0.25)
        else:
            console.print("[red]not every cabinet has reported within a minute; see the log[/]", folder / "log")
    await _nightfall(folder / "control" / "lighting.sock")
    console.print(_welcome(url, folder, time.monotonic() - started_s))


async def _nightfall(control: Path) -> None:
    """Let the lamps have something to do: the photocell of the lighting cabinet sees dusk."""
    with suppress(OSError, TimeoutError, ControlError):
        await ask(str(control), {"set": {"lux": DUSK_LUX}})


def _census(url: str) -> tuple[int, bool]:
    """How many gateways are up, and whether equipment with values is there."""
    try:
        with urlopen(f"{url}/api/district", timeout=2.0) as answer:  # noqa: S310 - our own address
            district = json.load(answer)
    except (OSError, ValueError):
        return 0, False
    up = sum(gateway["link"] == "up" for gateway in district["gateways"])
    return up, any(equipment["points"] for equipment in district["equipment"])


def _welcome(url: str, folder: Path, seconds: float) -> str:
    place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    control = place / "control"

    def at(gateway: str) -> str:
        return f"armoire --state {place / gateway / 'state'}"

    return f"""
The district runs, {seconds:.0f} s after its start.

  console   [bold]{url}/[/]
  API       {url}/schema
  log       {place / "log"}   names every process and its pid: kill any of them

Five commands to try in another terminal, after  export PATH=.venv/bin:$PATH

1 raise a bollard
  {at("gw-liberation")} bollard raise bollard-vauban
2 put a vehicle on another one's loop, and try to raise it: refused by SR-19
  armoire-sim set {control / "bollards.sock"} --unit 1 loop_a=true; sleep 1
  {at("gw-liberation")} bollard raise bollard-rameau
3 dim a street below the floor of its class at night: refused by LR-01
  {at("gw-darcy")} lamp set seg-darcy-1 5 --for 10m
4 let a green lamp output of the signal controller stick: the guard trips, releases, latches
  armoire-sim fault {control / "signals.sock"} stuck_green:4; sleep 1
5 ask why the junction is as it is
  {at("gw-republique")} why j-republique

Ctrl-C stops everything.
"""


async def run(folder: Path, ports: Ports) -> None:
    """Run a district that is laid out, until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    with (folder / "log").open("a") as log:

        def tell(text: str) -> None:
            print(time.strftime("%H:%M:%S"), text, file=log, flush=True)

        supervisor = Supervisor(programs(folder, ports), tell, output=log)
        async with asyncio.TaskGroup() as group:
            greeting = group.create_task(_when_ready(f"http://127.0.0.1:{ports.http}", console, folder))
            await supervisor.run()
            greeting.cancel()
    console.print("Everything has stopped.")


def district(folder: Path, http: int) -> int:
    """Entry point of the command."""
    folder = folder.resolve()
    ports = choose_ports(http)
    try:
        with owned(folder):
            lay_out(folder, ports)
            asyncio.run(run(folder, ports))
    except (FolderInUseError, OSError) as error:
        print(f"armoire-sim: --dir: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0
