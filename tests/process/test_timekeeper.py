"""Marks: what the monotonic clock meant, sealed when it is learnt, and not more often than that."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ledger.errors import LedgerError
from agent.model.observation import ClockQuality
from agent.process.clock import BOOT_BYTES, Clock, Sync, boot_id, host_clock
from agent.process.timekeeper import Marked, Timekeeper, mark, words
from agent.process.timescale import Reading

NOW = 1_800_000_000_000
YEAR = 365 * 86_400_000
UNKNOWN, RTC_ONLY, NETWORK, ATTESTED = ClockQuality


class Host:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.mono_ms, self.wall_ms, self.kept = 5_000, 0, False
        self.clock = Clock(lambda: self.mono_ms, lambda: self.wall_ms, lambda: Sync(self.kept, 40), bytes(range(8)))
        self.marks: list[tuple[str, dict[str, Any]]] = []
        self.kept_ms: list[int] = []
        self.is_disk_full = False
        self.keeper = Timekeeper(self.clock, lambda kind, text, detail: self.marks.append((text, detail)), self.keep)

    async def keep(self, time_ms: int) -> None:
        if self.is_disk_full:
            raise LedgerError("full")
        self.kept_ms.append(time_ms)

    async def look(self, after_ms: int = 1_000) -> None:
        self.mono_ms += after_ms
        self.wall_ms += after_ms
        await self.keeper.look()


async def test_a_mark_is_sealed_when_the_time_is_learnt_when_the_network_keeps_it_and_when_it_is_set() -> None:
    host = Host()
    await host.look()
    assert host.marks == []
    host.wall_ms = NOW
    await host.look()
    host.kept = True
    for _ in range(3):
        await host.look()
    host.wall_ms += 7_000
    await host.look()
    assert host.marks == [
        ("the time is known", {"boot": "0001020304050607", "mono_ms": 7_000, "clock": 1, "unix_ms": NOW + 1_000}),
        (
            "the network keeps the time",
            {"boot": "0001020304050607", "mono_ms": 8_000, "clock": 2, "unix_ms": NOW + 2_000, "within_ms": 40},
        ),
        (
            "the clock was set by +7.0 s",
            {"boot": "0001020304050607", "mono_ms": 11_000, "clock": 2, "unix_ms": NOW + 12_000, "within_ms": 40},
        ),
    ]


async def test_a_time_that_is_lost_is_told_too_and_learnt_again() -> None:
    host = Host()
    host.wall_ms = NOW
    await host.look()
    host.wall_ms = 0
    await host.look()
    host.wall_ms = NOW
    await host.look()
    assert [text for text, _ in host.marks] == [
        "the time is known",
        "the time is not known any more",
        "the time is known",
    ]
    assert "unix_ms" not in host.marks[1][1]


async def test_a_signed_time_is_kept_once_an_hour_and_again_when_the_disk_refused() -> None:
    host = Host()
    host.wall_ms, host.kept = NOW, True
    host.clock.hear(NOW, is_live=False)
    host.is_disk_full = True
    await host.look()
    host.is_disk_full = False
    await host.look()
    host.wall_ms = NOW + 3_000_000
    host.clock.hear(NOW + 3_000_000, is_live=False)
    await host.look()
    host.wall_ms = NOW + 4_000_000
    host.clock.hear(NOW + 4_000_000, is_live=False)
    await host.look()
    assert len(host.kept_ms) == 2
    assert abs(host.kept_ms[0] - NOW) <= 2_000
    assert abs(host.kept_ms[1] - NOW - 4_000_000) <= 2_000
    again = Host()
    again.clock.raise_floor(host.kept_ms[1])
    again.wall_ms = NOW
    assert again.clock.quality() is UNKNOWN, "an hour in the past, after a start"


async def test_a_fleet_manager_s_time_that_no_clock_confirms_is_not_kept() -> None:
    host = Host()
    host.clock.hear(NOW + 10 * YEAR, is_live=True)
    await host.look()
    host.wall_ms, host.kept = NOW, True
    await host.look()
    assert (host.clock.quality(), host.kept_ms) == (NETWORK, [])


@given(st.lists(st.tuples(st.sampled_from(list(ClockQuality)), st.integers(-5_000, 5_000)), max_size=30))
def test_what_the_newest_mark_says_is_never_more_than_a_leap_second_from_what_is_told(
    looks: list[tuple[ClockQuality, int]],
) -> None:
    before, marked_ms = Marked(), None
    for quality, offset_ms in looks:
        reading = Reading(1_000, 1_000 + offset_ms, quality, 0, 0)
        why, before = mark(before, reading)
        if quality is UNKNOWN:
            marked_ms = None
            continue
        marked_ms = offset_ms if why else marked_ms
        assert marked_ms is not None
        assert abs(marked_ms - offset_ms) <= 2_000


def test_the_host_s_own_clock_answers() -> None:
    clock = host_clock()
    reading = clock.read()
    assert reading.quality in ClockQuality
    assert (reading.error_ms >= 0) is (reading.quality >= NETWORK)
    assert clock.now_ms() >= reading.now_ms
    assert clock.boot == boot_id()
    assert len(clock.boot) == BOOT_BYTES


def test_a_host_that_does_not_tell_its_boot_gets_a_name_for_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("agent.process.clock.BOOT_ID", tmp_path / "none")
    assert len(boot_id()) == BOOT_BYTES
    assert boot_id() != boot_id()


def test_a_technician_is_told_how_the_clock_is_kept() -> None:
    told = [words(Reading(0, 0, quality, error_ms, 0)) for quality, error_ms in ((UNKNOWN, -1), (RTC_ONLY, -1))]
    told += [words(Reading(0, 0, quality, 40, 0)) for quality in (RTC_ONLY, NETWORK, ATTESTED)]
    assert told == [
        "unknown; records are dated later",
        "its own, kept by nobody",
        "its own since the network was lost, within 40 ms",
        "the network's, within 40 ms",
        "the network's, within 40 ms; the fleet's agrees",
    ]
