"""Six hours without a fleet, and a thousand gateways that come back at once: does memory stay where it was?"""

import json
import shutil
import time
from pathlib import Path

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.demotrust import make_demo_trust, sign_key_list
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import SCHEMA, decode
from agent.wire.trust import KeyEntry, KeyList
from benchmarks.bench import Run
from benchmarks.child import BenchError, Child
from benchmarks.table import Table
from benchmarks.town import CITY

HOURS, HOURS_QUICK = 6, 1
GATEWAYS, GATEWAYS_QUICK = 1_000, 100
BACKLOG_LINKS = 20
CHILD_S_MAX = 900
METHOD = (
    "*Gateway*: a process of its own with a real ledger and the real sending state of the courier, fed for six hours of "
    "virtual time as a large cabinet feeds it (a `state` link of 5 changes each second, a `tele` link of 100 each 5 s, an "
    "alarm a minute, the number of an attempt to connect each minute), while nothing is acknowledged. Polling, drivers and "
    "the failing sockets are left out. *Manager*: a process with the whole control room and its database, its Unix clock "
    f"running 360 times as fast; {GATEWAYS:,} gateways are born, say nothing for six hours, and then all come back with "
    f"{BACKLOG_LINKS} links of 20 changes each, sealed beforehand, as fast as the writer takes them. Broker and sockets are "
    "left out. RSS is read from `/proc` each simulated hour, and each 0.1 s while they come back."
)


def measure(run: Run) -> Table:
    """The cabinet's side, then the manager's."""
    table = Table("Six hours of outage, 1,000 gateways", METHOD)
    hours = run.count(HOURS, HOURS_QUICK)
    run.advance("a gateway without a fleet", 0, 2)
    gateway = _child(run, "benchmarks.silent_gateway", str(hours))
    table.add("gateway: RSS after each hour", "MB", gateway["rss_mb"])
    table.add("gateway: growth from the first hour to the last", "MB", _growth(gateway["rss_mb"]), "≤ 5")
    table.add("gateway: disk after each hour (quota 64 MiB a stream)", "MB", gateway["disk_mb"])
    table.add("gateway: changes sealed", "changes", gateway["changes"])
    table.add("gateway: changes a signed gap record stands for", "changes", gateway["shed"])
    table.add("gateway: bytes written to disk per change", "B", gateway["written_per_change"])

    run.advance("a manager without gateways", 1, 2)
    count = run.count(GATEWAYS, GATEWAYS_QUICK)
    trust = run.folder / "trust"
    _many_keys(trust, count)
    fleet = _child(run, "benchmarks.silent_fleet", str(hours), str(count), str(BACKLOG_LINKS), str(trust))
    table.add("manager: RSS once all were born", "MB", fleet["born_mb"])
    table.add("manager: RSS after each hour of silence", "MB", fleet["silent_mb"])
    table.add("manager: growth over the silence", "MB", _growth([*fleet["born_mb"], *fleet["silent_mb"]]), "≤ 5")
    table.add("manager: RSS while all come back", "MB", fleet["back_mb"])
    table.add("manager: all acknowledged after", "s", fleet["back_s"])
    table.add("manager: lost", "links", fleet["lost"], "0")
    table.add("manager: stored twice", "links", fleet["twice"], "0")
    return table


def _growth(values: list[float]) -> list[float]:
    return [values[-1] - values[0]]


def _child(run: Run, module: str, *arguments: str) -> dict[str, list[float]]:
    folder = run.new_folder("s")
    result = folder / "result.json"
    with Child(("-m", module, str(folder), *arguments), folder / "log") as child:
        end_s = time.monotonic() + CHILD_S_MAX
        while child.process.poll() is None:
            if time.monotonic() > end_s:
                raise BenchError(f"{module} does not end\n{child.said()[-2000:]}")
            time.sleep(0.1)
    if not result.exists():
        raise BenchError(f"{module} ended with {child.process.returncode}\n{child.said()[-2000:]}")
    found: dict[str, list[float]] = json.loads(result.read_text())
    shutil.rmtree(folder)
    return found


def signer_of(gateway: str, number: int) -> Signer:
    """A gateway's key, the same in every process."""
    return Signer.from_seed(f"{gateway}/agent/1", number.to_bytes(32, "big"))


def gateway_of(number: int) -> GatewayId:
    """The name of one of many."""
    return GatewayId(f"gw-{number}")


def _many_keys(trust: Path, count: int) -> None:
    """A city's trust with one key for each of so many gateways: with guards' and technicians' it would not fit a list."""
    make_demo_trust(trust, CITY, (), now_ms=time.time_ns() // 1_000_000)
    path = trust / "keys.sealed"
    listed = decode(envelope.parse(envelope.split_set(path.read_bytes())[0]).payload, KeyList)
    valid = (listed.keys[0].not_before_ms, listed.keys[0].not_after_ms)
    entries = list(listed.keys)
    for number in range(1, count + 1):
        gateway = gateway_of(number)
        signer = signer_of(gateway, number)
        scope = (str(gateway),)
        entries.append(
            KeyEntry(
                f"{gateway}/agent/1", signer.algorithm, signer.public_key, gateway, "agent", ("up",), scope, *valid
            )
        )
    officers = [read_signer(trust / f"offline/root-{n}.pem") for n in (1, 2)]
    made = KeyList(SCHEMA, CITY, listed.version, listed.issued_ms, listed.expires_ms, entries)
    path.unlink()
    path.write_bytes(sign_key_list(made, officers))
