"""A line that is slow for good, on a real broker: what is behind arrives, what matters first, on one connection.

Everything is ten times as fast as in a street: 10 kB/s stand for 1 kB/s, and each time of the delivery is a tenth.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.process.clock import Clock
from agent.wire import flight, streams
from simulators.line import Line
from tests.fleet import broker as brokers
from tests.ledger.test_ledger import event, samples
from tests.runtime.courier_rig import Fleet, courier_to, fleet_on

BYTES_PER_S = 10_000


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with brokers.iotcore(tmp_path) as port:
        yield port


@pytest.fixture(autouse=True)
def _ten_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOON_MS", "LATE_MS", "ANSWER_MS"):
        monkeypatch.setattr(flight, name, getattr(flight, name) // 10)
    for name in ("BYTES_PER_S_MIN", "BYTES_PER_S_MAX"):
        monkeypatch.setattr(flight, name, getattr(flight, name) * 10)
    for name in ("GO_BACK_MS_MIN", "GO_BACK_MS_MAX", "SUSPECT_MS"):
        monkeypatch.setattr(streams, name, getattr(streams, name) // 10)
    monkeypatch.setattr("agent.runtime.mqtt.ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr("agent.runtime.courier.WATCH_S", 0.1, raising=False)


@contextlib.asynccontextmanager
async def slow_line(port: int, bytes_per_s: int) -> AsyncIterator[tuple[Line, Fleet]]:
    async with fleet_on(port) as fleet, Line.serve(port) as line:
        line.up.bytes_per_s = bytes_per_s
        yield line, fleet


async def test_a_slow_line_carries_a_backlog_once_and_in_one_connection_and_an_alarm_before_it(
    port: int, tmp_path: Path
) -> None:
    count = 60
    async with (
        slow_line(port, BYTES_PER_S) as (line, fleet),
        courier_to(tmp_path / "agent.db", line.port, heartbeat_s=1) as cabinet,
    ):
        for n in range(count):
            await cabinet.journal.append_samples("tele", samples(40, 40 * n))
        backlog_bytes = await cabinet.journal._ask(lambda ledger: ledger.size_bytes("tele"))
        assert backlog_bytes > 2 * BYTES_PER_S
        await fleet.until(lambda: len(fleet.values.get("tele", ())) >= 40 * 10)
        began_ms = Clock().now_ms()
        await cabinet.journal.append_events("alarm", [event("door open")])
        await fleet.until(lambda: fleet.inbound.head("gw-darcy", "alarm"))
        assert Clock().now_ms() - began_ms < 1_000
        assert len(fleet.values["tele"]) < 40 * count
        await fleet.until(lambda: len(fleet.values["tele"]) == 40 * count)
        await fleet.until(lambda: not any(cabinet.courier.backlog.values()))
        assert fleet.values["tele"] == list(range(40 * count))
        figures = cabinet.courier.figures
        assert figures.connections == 1
        assert figures.links_sent < 1.3 * count
