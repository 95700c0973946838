"""A fleet manager that lost its database hears again whatever the cabinets still keep, and they believe it."""

import json
import os
import signal
from collections import Counter

from agent.wire.envelope import parse
from agent.wire.messages import Batch, Event, decode
from tests.district.rig import District, wait_until
from tests.district.test_kills import GATEWAYS, Key, arrived, gateways, mark, produced, reachable, stored

RESEND_S = 90.0  # Two go-backs without progress are waited for before a loss is believed, and a stream may be idle.


def test_a_removed_database_of_the_fleet_fills_again_from_the_cabinets() -> None:
    with District() as district:
        before = wait_until("everything is acknowledged", lambda: acknowledged(district))
        assert district.get("/api/health")["term"] == 1
        epochs = safety_epochs(district)
        lose_database_and_broker(district)
        wait_until("the fleet answers", lambda: reachable(district))
        wait_until("every gateway is heard", lambda: all(each["link"] == "up" for each in gateways(district)))
        assert district.get("/api/health")["term"] > 1, "the cabinets have seen the first term: a second one is not new"
        wait_until("every piece of equipment has values", lambda: all_have_points(district), RESEND_S)
        wait_until("the guards begin a new epoch", lambda: all_above(safety_epochs(district), epochs), RESEND_S)
        marks = {gateway: mark(district, gateway) for gateway in GATEWAYS}
        wait_until("all of it", lambda: all(arrived(district, *each) for each in marks.items()), RESEND_S)
        assert all(mode == "supervised" for mode in modes(district).values()), "a cabinet took the fleet for silent"
        answers = (
            district.command("gw-darcy", "seg-darcy-1", "set-level", level_percent=50, lease_s=600),
            district.command("gw-republique", "j-republique", "select-plan", plan=2, lease_s=600),
        )
        assert [answer["status"] for answer in answers] == ["done", "done"], answers
        district.stop()
        fleet = stored(district)
        hashes = {key: found for key, found, _ in fleet}
        newest = safety_epochs_of(hashes)
        kept = {
            key: found
            for key, found in produced(district).items()
            if key[3] <= marks[key[0]].get(key[1], 0) and (key[1] != "safety" or key[2] == newest[key[0]])
        }
    assert max(Counter(key for key, *_ in fleet).values()) == 1, "a link is stored twice"
    assert any(key[3] <= before[key[0]][key[1]] for key in kept), "nothing from before was kept: the test proves little"
    assert {key: hashes.get(key) for key in kept} == kept
    for gateway in epochs:
        told = [event.kind for event in safety_events(fleet, gateway)]
        assert told[0] == "stream.epoch"
        assert len(told) > 1, "the guard still keeps what it had sealed before, and did not say it again"


def lose_database_and_broker(district: District) -> None:
    """A disk is replaced: database and retained state are gone, and only the cabinets know what has been."""
    for name in ("fleet.db", "fleet.db-wal", "fleet.db-shm"):
        (district.home / "fleet" / name).unlink(missing_ok=True)
    pids = {name: district.pid(name) for name in ("fleet", "broker")}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in pids.items():
        wait_until(f"{name} is started again", lambda name=name, pid=pid: district.pid(name) != pid)  # type: ignore[misc]


def acknowledged(district: District) -> dict[str, dict[str, int]] | None:
    """Where every stream ends, once the fleet has equipment with values and no gateway has a backlog."""
    if not all_have_points(district) or any(each["backlog"] for each in gateways(district)):
        return None
    return {gateway: mark(district, gateway) for gateway in GATEWAYS}


def all_have_points(district: District) -> bool:
    return all(
        any(each["points"] for each in district.get("/api/district")["equipment"] if each["gateway"] == gateway)
        for gateway in GATEWAYS
    )


def modes(district: District) -> dict[str, str]:
    return {each["id"]: each["mode"] for each in gateways(district)}


def safety_epochs(district: District) -> dict[str, int]:
    """The epoch of each guard's stream, as the guard itself says."""
    epochs = {}
    for gateway in GATEWAYS:
        status = json.loads(district.armoire(gateway, "status", "--json").stdout)
        for process in filter(None, (status.get("agent"), status.get("guard"))):
            epochs.update((gateway, head["epoch"]) for head in process["heads"] if head["stream"] == "safety")
    return epochs


def all_above(epochs: dict[str, int], before: dict[str, int]) -> bool:
    return all(epochs[gateway] > epoch for gateway, epoch in before.items())


def safety_epochs_of(hashes: dict[Key, bytes]) -> dict[str, int]:
    """Per gateway the newest epoch of its guard's stream that the fleet holds."""
    epochs: dict[str, int] = {}
    for gateway, stream, epoch, _ in hashes:
        if stream == "safety":
            epochs[gateway] = max(epoch, epochs.get(gateway, 0))
    return epochs


def safety_events(fleet: list[tuple[Key, bytes, bytes]], gateway: str) -> list[Event]:
    links = [decode(parse(envelope).payload, Batch) for key, _, envelope in fleet if key[:2] == (gateway, "safety")]
    return [event for batch in links for event in batch.events]
