"""The guard's records over its real socket: carried, acknowledged, and never in anybody's way."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from agent.ledger.ledger import Ledger
from agent.process.client import LocalClient, PeerDownError
from agent.process.clock import Clock
from agent.process.server import LocalServer
from agent.runtime.sources import GuardLinks
from agent.wire.local import Failed, GetSafetyRecords, Noted, Reply, Request, SafetyRecords, TellFleetSeen
from agent.wire.streams import WINDOW_LINKS
from simulators.clock import VirtualTimeLoop
from tests.ledger.test_ledger import event
from tests.runtime.rig import guarded_rig
from tests.wire.party import CITY, GATEWAY, signer


class Guard:
    """A guard's desk with a real ledger."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path, signer(f"{GATEWAY}/guard/1"), CITY, GATEWAY, ("safety",), Clock())
        self.told: list[str] = []
        self.is_answering = asyncio.Event()
        self.is_answering.set()

    async def answer(self, request: Request) -> Reply:
        await self.is_answering.wait()
        match request:
            case GetSafetyRecords(epoch=epoch, after_seq=seq, limit=limit):
                links = self.ledger.sealed_after("safety", epoch, seq, limit)
                records = [(link.seq, link.sealed) for link in links]
                return SafetyRecords(self.ledger.head("safety"), self.ledger.acked("safety"), records)
            case TellFleetSeen(topic=topic):
                self.told.append(topic)
                return Noted()
        return Failed("not asked for here")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def following(links: GuardLinks) -> "contextlib.AbstractAsyncContextManager[None]":  # type: ignore[misc]
    task = asyncio.ensure_future(links.follow(lambda: None))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_records_come_in_order_and_leave_when_acknowledged(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "guard.db")
    path = tmp_path / "guard.sock"
    client = LocalClient(path)
    links = GuardLinks(client)
    assert (links.heads, links.acked, await links.floors()) == ([], [], [])
    async with LocalServer(path, guard.answer).serving(), following(links):
        for n in range(100):
            guard.ledger.append_events("safety", [event(f"{n}")])
        head = guard.ledger.head("safety")
        await until(lambda: links.heads and links.heads[0] == head)
        seen: list[int] = []
        while len(seen) < 100:
            await until(lambda: links._links)
            part = await links.sealed_after("safety", head.epoch, seen[-1] if seen else 0, WINDOW_LINKS)
            if not part:
                await asyncio.sleep(0.01)
                continue
            seen += [link.seq for link in part]
            assert await links.hash_at("safety", head.epoch, part[-1].seq) == part[-1].hash
            guard.ledger.acknowledged(type(head)("safety", head.epoch, part[-1].seq, part[-1].hash))
            await links.fleet_message("armoire/1/dijon/gw-darcy/down/ack", b"sealed")
        assert seen == list(range(1, 101))
        await until(lambda: links.acked[0].seq == 100)
        assert guard.told
    await client.close()
    guard.ledger.close()


async def test_a_new_epoch_begins_the_stream_anew(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "guard.db")
    path = tmp_path / "guard.sock"
    client = LocalClient(path)
    links = GuardLinks(client)
    async with LocalServer(path, guard.answer).serving(), following(links):
        guard.ledger.append_events("safety", [event("one")])
        await until(lambda: links._links)
        old = links.heads[0].epoch
        guard.ledger.raise_epoch("safety", old, "asked for")
        await until(lambda: links.heads[0].epoch > old and len(links._links) == 2)
        assert await links.sealed_after("safety", old, 0, 9) == []
        assert await links.hash_at("safety", old, 1) is None
        assert [link.seq for link in await links.sealed_after("safety", links.heads[0].epoch, 0, 9)] == [1, 2]
    await client.close()
    guard.ledger.close()


async def test_a_guard_that_hangs_or_is_away_holds_up_nobody(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "guard.db")
    path = tmp_path / "guard.sock"
    client = LocalClient(path)
    links = GuardLinks(client)
    async with following(links):
        await asyncio.sleep(0.05)  # Nobody serves the socket yet.
        guard.is_answering.clear()
        async with LocalServer(path, guard.answer).serving():
            async with asyncio.timeout(0.5):
                for _ in range(100):
                    await links.fleet_message("t", b"x")
                assert await links.sealed_after("safety", 1, 0, 9) == []
            guard.is_answering.set()
            guard.ledger.append_events("safety", [event("one")])
            await until(lambda: links._links)
    await client.close()
    guard.ledger.close()


async def test_the_guards_records_have_a_connection_of_their_own_and_wait_for_no_command() -> None:
    async with guarded_rig() as rig:
        mirror = rig.agent.guard
        assert mirror is not None
        assert len({id(client) for client in (mirror._questions, mirror._commands, rig.agent._carrying)}) == 3


class Line(LocalClient):
    """Straight to a guard's desk, a millisecond away, and counted."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(Path("no socket"))
        self.guard = guard
        self.asked = 0
        self.is_down = False

    async def ask(self, request: Request, timeout_s: float = 1.0) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.is_down:
            raise PeerDownError("the guard is away")
        return await self.guard.answer(request)


def test_however_many_records_an_outage_leaves_the_guard_is_asked_twice_a_second_and_an_ack_makes_room_at_once(
    tmp_path: Path,
) -> None:
    guard = Guard(tmp_path / "guard.db")
    for n in range(100):
        guard.ledger.append_events("safety", [event(f"{n}")])
    line = Line(guard)
    links = GuardLinks(line)

    async def outage() -> None:
        async with following(links):
            await asyncio.sleep(10)
            assert len(links._links) == 2 * WINDOW_LINKS
            line.asked = 0
            await asyncio.sleep(60)
            assert 100 <= line.asked <= 120
            newest = links._links[-1]
            guard.ledger.acknowledged(type(links.heads[0])("safety", links.heads[0].epoch, newest.seq, newest.hash))
            await links.fleet_message("t", b"x")
            await asyncio.sleep(0.1)
            assert [link.seq for link in links._links] == list(range(33, 65))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(outage())
    guard.ledger.close()


def test_a_guard_that_went_down_with_records_of_its_own_is_asked_ever_more_seldom_and_found_again(
    tmp_path: Path,
) -> None:
    guard = Guard(tmp_path / "guard.db")
    for n in range(100):
        guard.ledger.append_events("safety", [event(f"{n}")])
    line = Line(guard)
    links = GuardLinks(line)

    async def restart() -> None:
        async with following(links):
            await asyncio.sleep(10)
            line.is_down, line.asked = True, 0
            for _ in range(600):
                await links.fleet_message("t", b"x")
                await asyncio.sleep(0.1)
            assert 15 <= line.asked <= 20  # After 0.5, 1, 2 and then each 4 s.
            line.is_down, line.asked = False, 0
            await asyncio.sleep(4)
            assert line.asked
            assert guard.told

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(restart())
    guard.ledger.close()
