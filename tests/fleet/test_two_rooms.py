"""A control room and a failover room as real processes on two real brokers: killed, stopped, cut off. Both ends count.

One city per arrangement goes through all of it; each test leaves both managers and both brokers running.
"""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.rooms import OWN_STORES, SHARED_STORE, Cabinet, Room, Rooms, cabinet, rooms, until
from fleet.cli import main
from fleet.lease import EXPIRY_MS

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAYS = ["gw-darcy", "gw-monge"]
SWITCH_S_MAX = 20.0
"""Far above what the benchmark measures: the machine of a test may be busy with anything."""
STOPPED_S = EXPIRY_MS / 1000 + 0.5


@dataclass
class City:
    """Both rooms, two cabinets, and what was commanded."""

    both: Rooms
    cabinets: list[Cabinet]
    done: list[str] = field(default_factory=list)

    async def leader(self) -> Room:
        return await asyncio.to_thread(self.both.leader)

    async def goes_on(self) -> None:
        """Something sealed from now on is acknowledged, of every cabinet."""
        marks = [each.sealed[-1][0] + 2 for each in self.cabinets]
        await until(
            lambda: all(each.acked >= mark for each, mark in zip(self.cabinets, marks, strict=True)), SWITCH_S_MAX
        )

    async def command(self, manager: Room) -> Any:
        """Ask a manager for something harmless."""
        body = {
            "gateway": GATEWAYS[0], "equipment": "segment-1", "verb": "set-level", "operator": "alice", "wait_s": 5,
            "args": {"level_percent": 60, "lease_s": 1800},
        }  # fmt: skip
        return await asyncio.to_thread(manager.ask, "/api/commands", body)

    async def commands(self, manager: Room) -> None:
        """A command is carried out, as soon as the manager has heard the gateway's newest birth."""
        answer: Any = {"detail": ""}
        async with asyncio.timeout(SWITCH_S_MAX):
            while "detail" in answer:
                await asyncio.sleep(0.05)
                answer = await self.command(manager)
        assert answer["status"] == "done", answer
        self.done.append(answer["command_id"])

    async def restart(self, manager: Room) -> None:
        self.both.managers[manager.name] = await asyncio.to_thread(self.both.manager, manager.name)

    async def restart_broker(self) -> None:
        self.both.brokers[0] = await asyncio.to_thread(self.both.broker, 0)

    def holds_everything_once(self, manager: Room) -> bool:
        """Produced = stored, in order, once, of everything acknowledged."""
        return self.both.compared(manager, self.cabinets) == (0, 0)

    def count(self, manager: Room) -> None:
        """Nothing lost, nothing double; the log is whole; no command was carried out twice, and none that was not told of."""
        assert self.holds_everything_once(manager)
        assert self.cabinets[0].executed == self.done
        entries = [
            number for (number,) in rows(self.both.database(manager.name), "SELECT no FROM log_entries ORDER BY no")
        ]
        assert entries == list(range(len(entries)))


def rows(path: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[SHARED_STORE, OWN_STORES])
async def city(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    with rooms(tmp_path_factory.mktemp("rooms"), request.param, GATEWAYS) as both:
        async with contextlib.AsyncExitStack() as stack:
            cabinets = [await stack.enter_async_context(cabinet(name, both)) for name in GATEWAYS]
            made = City(both, cabinets)
            await made.leader()
            await until(lambda: all(each.acked for each in cabinets))
            await made.goes_on()
            yield made


async def test_the_standby_refuses_in_a_sentence_that_names_the_leader(city: City) -> None:
    leader = await city.leader()
    standby = city.both.other(leader)
    await city.commands(leader)
    refusal = (await city.command(standby))["detail"]
    assert f"{leader.name} leads" in refusal
    assert f"there, at {leader.url}" in refusal
    health = standby.ask("/api/health")
    assert (health["role"], health["leader"], health["status"]) == ("standby", leader.name, "ok")
    assert f"{leader.name} leads" in standby.ask("/api/district")["standby"]
    await until(lambda: city.holds_everything_once(standby))
    city.count(leader)


async def test_a_person_hands_over_with_a_reason_that_stays_in_the_log(
    city: City, capsys: pytest.CaptureFixture[str]
) -> None:
    async def says(*words: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        return code, said.out + said.err

    leader = await city.leader()
    standby = city.both.other(leader)
    why = ("--operator", "alice", "--reason", "new disks in the control room")
    code, said = await says("lead", "take", *why, "--dry-run", "--url", standby.url)
    assert (code, "nothing was changed" in said, leader.name in said) == (0, True, True)
    code, said = await says("lead", "take", *why, "--url", leader.url)
    assert (code, f"{leader.name} leads already" in said) == (3, True)
    code, said = await says("lead", "take", *why, "--url", standby.url)
    assert (code, f"{standby.name} leads" in said) == (0, True)
    await until(lambda: leader.ask("/api/health")["leader_url"].startswith(standby.url))
    code, said = await says("status", "--url", leader.url)
    assert (code, f"{leader.name}: standby since" in said, f"{standby.name} leads at {standby.url}" in said) == (
        0,
        True,
        True,
    )
    code, said = await says("lead", "yield", *why, "--url", standby.url)
    assert (code, f"{leader.name} leads" in said) == (0, True)
    await city.goes_on()
    city.count(leader)
    query = "SELECT kind, text FROM events WHERE kind LIKE 'lead.%' ORDER BY no DESC"
    (_, newest), *_ = rows(city.both.database(leader.name), query)
    assert newest.startswith(f"{leader.name} leads")
    kinds = {text: kind for kind, text in rows(city.both.database(standby.name), query)}
    assert kinds[next(text for text in kinds if text.endswith("alice: new disks in the control room"))].startswith(
        "lead."
    )


async def test_when_the_leading_manager_is_killed_the_other_goes_on(city: City) -> None:
    leader = await city.leader()
    standby = city.both.other(leader)
    leader.signal(signal.SIGKILL)
    await city.goes_on()
    assert standby.is_leading
    await city.commands(standby)
    await city.restart(leader)
    await until(lambda: city.holds_everything_once(leader))
    city.count(standby)


async def test_a_leader_that_was_stopped_wakes_up_and_neither_acknowledges_nor_commands_nor_writes(city: City) -> None:
    leader = await city.leader()
    standby = city.both.other(leader)
    leader.signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    await city.goes_on()
    await city.commands(standby)
    await asyncio.sleep(max(0.0, STOPPED_S - (time.monotonic() - stopped_s)))
    asked = asyncio.create_task(city.command(leader))  # It waits in the stopped process' socket.
    await asyncio.sleep(0.1)
    leader.signal(signal.SIGCONT)
    assert "Nothing was sent" in (await asked)["detail"]
    await until(lambda: leader.ask("/api/health")["role"] == "standby")
    assert standby.is_leading
    await city.goes_on()
    await until(lambda: city.holds_everything_once(leader))
    city.count(standby)
    assert "Traceback" not in leader.child.said()


async def test_when_a_broker_dies_the_cabinets_go_to_the_other_and_the_same_manager_leads(city: City) -> None:
    leader = await city.leader()
    term = leader.ask("/api/health")["term"]
    city.both.brokers[0].stop(signal.SIGKILL)
    await city.goes_on()
    await until(lambda: leader.ask("/api/health")["detail"].startswith(f"broker 127.0.0.1:{city.both.ports[0]}"))
    health = leader.ask("/api/health")
    assert (health["role"], health["term"], health["broker"]) == ("leading", term, "connected")
    await city.commands(leader)
    await city.restart_broker()
    city.count(leader)


async def test_when_a_broker_and_the_leading_manager_die_together_nothing_is_lost_or_double(city: City) -> None:
    leader = await city.leader()
    standby = city.both.other(leader)
    place = city.both.ports.index(int(city.cabinets[0].courier.figures.broker.rpartition(":")[2]))
    city.both.brokers[place].stop(signal.SIGKILL)
    leader.signal(signal.SIGKILL)
    await city.goes_on()
    await city.commands(standby)
    city.count(standby)
    words = ["audit", "verify", "--dir", str(city.both.folder), "--keys", str(city.both.trust)]
    database = city.both.folder / "fleet.db"
    database.symlink_to(city.both.database(standby.name))
    assert await asyncio.to_thread(main, words) == 0  # Every entry hashed anew, every checkpoint of both compared.
