"""Killing any process loses nothing and repeats nothing: counted at both ends, in the databases of a real district."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from agent.wire.envelope import digest, parse
from agent.wire.messages import Batch, decode
from tests.district.rig import District, wait_until

GATEWAYS = ("gw-darcy", "gw-republique", "gw-liberation")
VICTIMS = ("gw-republique: agent", "gw-republique: guard", "broker", "fleet", "gw-liberation: guard", "gw-darcy: agent")
Key = tuple[str, str, int, int]


@pytest.fixture(scope="module")
def district() -> Iterator[District]:
    with District() as district:
        yield district


def produced(district: District) -> dict[Key, bytes]:
    """Every link the gateways have sealed and still keep: (gateway, stream, epoch, seq) -> hash.

    Readable once their processes are gone: a ledger has one owner.
    """
    links: dict[Key, bytes] = {}
    for gateway in GATEWAYS:
        for database in ("agent.db", "guard.db"):
            if (district.home / gateway / "state" / database).exists():
                rows = district.rows(f"{gateway}/state/{database}", "SELECT stream, epoch, seq, hash FROM links")
                links |= {(gateway, stream, epoch, seq): found for stream, epoch, seq, found in rows}
    return links


def stored(district: District) -> list[tuple[Key, bytes, bytes]]:
    """Every link the fleet has stored, in the order it stored them."""
    query = """SELECT gateways.id, stream, epoch, seq, hash, envelope
               FROM links JOIN gateways ON gateways.no = links.gateway_no ORDER BY links.no"""
    return [((row[0], row[1], row[2], row[3]), row[4], row[5]) for row in district.rows("fleet/fleet.db", query)]


def test_killing_each_process_in_turn_loses_and_duplicates_nothing(district: District) -> None:
    commands: list[str] = []

    def stir(n: int) -> None:
        """Make every kind of equipment produce records, through the fleet and at the hardware."""
        district.hardware("bollards", "set", "--unit", "1", f"loop_a={'true' if n % 2 else 'false'}")
        answers = (
            district.command("gw-darcy", "seg-darcy-1", "set-level", level_percent=50 + n % 40, lease_s=600),
            district.command("gw-republique", "j-republique", "select-plan", plan=1 + n % 2, lease_s=600),
            district.command("gw-liberation", "bollard-vauban", "lower"),
        )
        commands.extend(answer["command_id"] for answer in answers if "command_id" in answer)

    for n, victim in enumerate(VICTIMS):
        stir(2 * n)
        district.kill(victim)
        wait_until("the fleet answers", lambda: reachable(district))
        stir(2 * n + 1)  # Right after: some of these meet a gap and must end as refused or unknown, not twice.

    wait_until("every gateway is heard", lambda: all(each["link"] == "up" for each in gateways(district)))
    states = wait_until("every command has ended", lambda: ended(district, commands))
    marks = {gateway: mark(district, gateway) for gateway in GATEWAYS}
    wait_until("what was sealed by now has arrived", lambda: all(arrived(district, *each) for each in marks.items()))
    district.stop()

    fleet = stored(district)
    assert max(Counter(key for key, *_ in fleet).values()) == 1, "a link is stored twice"
    hashes = {key: found for key, found, _ in fleet}
    sealed = {key: found for key, found in produced(district).items() if key[3] <= marks[key[0]][key[1]]}
    assert len(sealed) > 50, "hardly anything was sealed: the test proves little"
    for key, found in sealed.items():
        assert hashes[key] == found, f"{key} differs between gateway and fleet"
    check_chains(fleet)
    check_samples(district, fleet)
    check_commands(district, commands, states)


def check_chains(fleet: list[tuple[Key, bytes, bytes]]) -> None:
    """Per stream and epoch: numbers from 1 without a hole, in order, each naming its predecessor's hash."""
    last: dict[tuple[str, str, int], tuple[int, bytes]] = {}
    for (gateway, stream, epoch, seq), found, envelope in fleet:
        batch = decode(parse(envelope).payload, Batch)
        before_seq, before_hash = last.get((gateway, stream, epoch), (0, bytes(32)))
        assert seq == before_seq + 1, f"{gateway} {stream}: {seq} after {before_seq}"
        assert batch.prev == before_hash, f"{gateway} {stream} {seq}: the chain is broken"
        assert digest(envelope) == found
        last[gateway, stream, epoch] = (seq, found)
    epochs = Counter((gateway, stream) for gateway, stream, _ in last)
    assert max(epochs.values()) == 1, f"a kill must not raise an epoch: {epochs}"


def check_samples(district: District, fleet: list[tuple[Key, bytes, bytes]]) -> None:
    """As many samples and events are stored as were sealed."""
    batches = [decode(parse(envelope).payload, Batch) for _, _, envelope in fleet]
    (samples,) = district.rows("fleet/fleet.db", "SELECT count(*) FROM samples")[0]
    assert samples == sum(len(batch.values) for batch in batches)
    streams = ", ".join(f"'{name}'" for name in ("alarm", "state", "tele", "audit", "safety"))
    (events,) = district.rows("fleet/fleet.db", f"SELECT count(*) FROM events WHERE seq > 0 AND stream IN ({streams})")[
        0
    ]
    assert events == sum(len(batch.events) for batch in batches)


def check_commands(district: District, commands: list[str], states: dict[str, str]) -> None:
    """No command was carried out twice."""
    rows = district.rows("fleet/fleet.db", "SELECT detail FROM events WHERE kind LIKE 'command.%' AND seq > 0")
    carried_out = Counter(command for command in commands for (detail,) in rows if f'"{command}"' in detail)
    assert all(count == 1 for count in carried_out.values()), carried_out
    done = [each for each in commands if states[each] == "done"]
    assert len(done) >= len(VICTIMS), "hardly any command got through: the test proves little"
    assert set(done) <= set(carried_out), "a command is done without a sealed record of it"


def ended(district: District, commands: list[str]) -> dict[str, str] | None:
    """How each command ended, once all have."""
    states = {each["command_id"]: each["status"] for each in district.get("/api/commands?limit=200")}
    mine = {command: states[command] for command in commands}
    return mine if set(mine.values()) <= {"done", "refused", "expired", "failed", "unknown"} else None


def reachable(district: District) -> bool:
    try:
        return bool(gateways(district))
    except OSError:
        return False


def gateways(district: District) -> list[dict[str, str]]:
    found: list[dict[str, str]] = district.get("/api/district")["gateways"]
    return found


def mark(district: District, gateway: str) -> dict[str, int]:
    """Where the gateway's streams end now."""
    status = json.loads(district.armoire(gateway, "status", "--json").stdout)
    processes = [status[name] for name in ("agent", "guard") if status.get(name)]
    return {head["stream"]: head["seq"] for process in processes for head in process["heads"]}


def arrived(district: District, gateway: str, heads: dict[str, int]) -> bool:
    """True once the fleet holds at least these numbers."""
    query = """SELECT stream, max(seq) FROM links JOIN gateways ON gateways.no = links.gateway_no
               WHERE gateways.id = '{}' GROUP BY stream"""
    found = dict(district.rows("fleet/fleet.db", query.format(gateway)))
    return all(found.get(stream, 0) >= seq for stream, seq in heads.items())


def test_ctrl_c_leaves_no_process() -> None:
    with District() as district:
        pids = district.every_pid()
        assert len(pids) >= 9
        district.stop()
        wait_until("every process is gone", lambda: not any(runs(pid) for pid in pids), timeout_s=10)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    time.sleep(0.01)
    return True
