"""A cabinet whose disk takes nothing, hangs or cannot be read: the fleet hears it all the same, and all that was sealed."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerError
from agent.runtime.journal import Journal
from tests.fleet import broker as brokers
from tests.ledger.disk import failing, read_only
from tests.ledger.test_ledger import event, samples
from tests.runtime.courier_rig import Running, courier_to, fleet_on
from tests.wire.party import GATEWAY


@contextlib.asynccontextmanager
async def hanging(journal: Journal) -> AsyncIterator[None]:
    """A write that does not come back holds up everything behind it."""
    reached, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(_: object) -> None:
        loop.call_soon_threadsafe(reached.set)
        go_on.wait(60)

    asked = asyncio.ensure_future(journal._ask(hang))
    await reached.wait()
    try:
        yield
    finally:
        go_on.set()
        await asked


@contextlib.asynccontextmanager
async def disk_that_is(kind: str, cabinet: Running, path: Path) -> AsyncIterator[None]:
    match kind:
        case "read-only":
            with read_only(path):
                yield
        case "unreadable":
            with failing(path):
                yield
        case _:
            async with hanging(cabinet.journal):
                yield


@pytest.mark.parametrize("kind", ["read-only", "unreadable", "hanging"])
async def test_a_cabinet_whose_disk_fails_comes_back_after_an_outage_and_stays(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.sources.DISK_TIMEOUT_S", 0.2, raising=False)
    monkeypatch.setattr("agent.runtime.connections.DISK_TIMEOUT_S", 0.2, raising=False)
    path, port = tmp_path / "agent.db", brokers.free_port()
    async with courier_to(path, port, heartbeat_s=0.05) as cabinet:
        with brokers.iotcore(tmp_path, port):
            async with fleet_on(port) as fleet:
                await fleet.until(lambda: fleet.births)
                before = fleet.births[-1].conn
        async with disk_that_is(kind, cabinet, path):
            with brokers.iotcore(tmp_path, port):
                async with fleet_on(port) as fleet:
                    await fleet.until(lambda: fleet.births)
                    connections = cabinet.courier.figures.connections
                    await fleet.until(lambda: len(fleet.beats) > 10)
                    assert fleet.births[-1].conn > before
                    assert cabinet.courier.figures.connections == connections
        await cabinet.journal.append_events("alarm", [event("the disk is back")])
        with brokers.iotcore(tmp_path, port):
            async with fleet_on(port) as fleet:
                await fleet.until(lambda: fleet.inbound.head(GATEWAY, "alarm"))


async def test_alarms_sealed_before_the_disk_became_read_only_arrive_and_their_ack_is_stored_once_it_is_back(
    tmp_path: Path,
) -> None:
    path, port = tmp_path / "agent.db", brokers.free_port()
    async with courier_to(path, port, heartbeat_s=0.05) as cabinet:
        await cabinet.journal.append_events("alarm", [event("door open")])
        await cabinet.journal.append_samples("state", samples(3))
        with brokers.iotcore(tmp_path, port):
            async with fleet_on(port) as fleet:
                with read_only(path):
                    await fleet.until(lambda: fleet.values.get("state") == [0, 1, 2])
                    await fleet.until(lambda: fleet.inbound.head(GATEWAY, "alarm"))
                    await fleet.until(lambda: not any(cabinet.courier.backlog.values()))
                    beats = len(fleet.beats)
                    await fleet.until(lambda: len(fleet.beats) > beats + 5)
                    with pytest.raises(LedgerError):
                        await cabinet.journal.append_events("alarm", [event("unsealed")])
                    assert [each.seq for each in cabinet.journal.acked.values()] == [0] * 4
                await cabinet.journal.append_samples("state", samples(2, 3))
                await fleet.until(lambda: cabinet.journal.acked["state"].seq == 2)
                await fleet.until(lambda: cabinet.journal.acked["alarm"].seq == 1)
                assert cabinet.courier.figures.connections == 1
