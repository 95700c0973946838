"""Conflict monitors whose time is told to them, side by side with others on a wire."""

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.conflict_monitor import CARDS, Card, ConflictMonitor
from simulators.control_socket import ControlError, ask
from simulators.lamp_wire import LampWireError, Moment, decode_moments, encode_lamps, encode_moment
from simulators.monitor_rack import LEAP_MS_MAX, MonitorRack, ToldMonitor
from simulators.signal_controller.aspects import Lamps, bit
from tests.waiting import wait_until

GOOD = Lamps(0xFFF & ~bit(2) & ~bit(6), 0, bit(2) | bit(6), True)
CONFLICT = Lamps(0xFFF & ~bit(2) & ~bit(4), 0, bit(2) | bit(4), True)
DUAL_RING, JUNCTION_1136 = str(CARDS / "dual_ring.toml"), str(CARDS / "junction_1136.toml")
WORDS = st.integers(0, 0xFFFF)
MOMENTS = st.builds(
    Moment, st.integers(0, 2**63), st.integers(0, 2**32 - 1), st.builds(Lamps, WORDS, WORDS, WORDS, st.booleans())
)


def told(*moments: tuple[int, Lamps]) -> dict[str, Any]:
    """The state of a monitor that was told this."""
    monitor = ToldMonitor(ConflictMonitor(Card.load(Path(DUAL_RING))))
    for number, (at_ms, lamps) in enumerate(moments, start=1):
        monitor.tell(Moment(at_ms, number, lamps))
    return monitor.state()


@pytest.mark.parametrize(("lasted_ms", "kind"), [(10, None), (250, None), (260, "conflict"), (60_000, "conflict")])
def test_it_samples_every_50_ms_of_what_it_is_told_and_latches_with_the_sixth(lasted_ms: int, kind: str | None) -> None:
    state = told((0, GOOD), (1_000, CONFLICT), (1_000 + lasted_ms, GOOD), (100_000, GOOD))
    assert (state["samples"], state["heard"]) == (2_001, 4)
    assert state["latched"] == kind
    assert state["samples_conflicting"] == min(6, 1 + (lasted_ms - 1) // 50)
    assert (state["at_s"], state["channels"]) == ((pytest.approx(1.25), [2, 4]) if kind else (None, []))


def test_a_conflict_between_two_samples_is_not_seen_and_one_at_a_sample_is() -> None:
    assert told((0, GOOD), (1_001, CONFLICT), (1_049, GOOD), (2_000, GOOD))["samples_conflicting"] == 0
    assert told((0, GOOD), (1_000, CONFLICT), (1_001, GOOD), (2_000, GOOD))["samples_conflicting"] == 1


@pytest.mark.parametrize(
    "moment",
    [Moment(1_100, 3, GOOD), Moment(1_100, 1, GOOD), Moment(999, 2, GOOD), Moment(1_001 + LEAP_MS_MAX, 2, GOOD)],
)
def test_what_is_missing_came_twice_or_runs_back_is_refused(moment: Moment) -> None:
    monitor = ToldMonitor(ConflictMonitor(Card.load(Path(DUAL_RING))))
    monitor.tell(Moment(1_000, 1, GOOD))
    with pytest.raises(ControlError):
        monitor.tell(moment)
    monitor.tell(Moment(1_100, 2, GOOD))
    assert monitor.state()["samples"] == 3


@given(st.lists(MOMENTS, max_size=5))
def test_moments_cross_the_wire_unchanged(moments: list[Moment]) -> None:
    assert list(decode_moments(b"".join(map(encode_moment, moments)))) == moments


@given(st.binary(max_size=80))
def test_noise_is_an_error_or_moments(noise: bytes) -> None:
    with contextlib.suppress(LampWireError):
        list(decode_moments(noise))


@asynccontextmanager
async def rack() -> AsyncIterator[str]:
    async with MonitorRack.serve() as served:
        yield f"127.0.0.1:{served.port}"


@pytest.mark.hil
async def test_each_monitor_has_its_own_card_and_its_own_memory() -> None:
    async with rack() as address:
        numbers = [
            (await ask(address, {"do": "open", "card": card}))["monitor"]
            for card in (DUAL_RING, JUNCTION_1136, DUAL_RING)
        ]
        assert numbers == [1, 2, 3]
        block = b"".join(encode_moment(Moment(at_ms, n, CONFLICT)) for n, at_ms in ((1, 0), (2, 1_000)))
        for number in (1, 2):
            await ask(address, {"do": "tell", "monitor": number, "lamps": block.hex()})
        states = [(await ask(address, {"do": "verdict", "monitor": number}))["state"] for number in numbers]
        assert [state["latched"] for state in states] == ["conflict", None, None]
        assert [state["samples"] for state in states] == [21, 21, 0]
        assert (await ask(address, {"do": "close", "monitor": 1}))["state"] == states[0]
        with pytest.raises(ControlError, match="no monitor 1 is open"):
            await ask(address, {"do": "verdict", "monitor": 1})


@pytest.mark.hil
@pytest.mark.parametrize("line", [True, False])
async def test_one_on_the_wire_goes_by_the_clock_and_sends_its_line_only_if_asked_to(line: bool) -> None:
    async with rack() as address, asyncio_wire() as wire:
        opened = await ask(address, {"do": "open", "card": DUAL_RING, "wire": True, "line": line})
        wire.connect(("127.0.0.1", opened["port"]))
        state: dict[str, Any] = {}

        async def latched() -> bool:
            wire.send(encode_lamps(1, CONFLICT))
            state.update((await ask(address, {"do": "verdict", "monitor": 1}))["state"])
            return state["latched"] is not None

        for _ in range(1_000):
            if await latched():
                break
        assert (state["latched"], state["broken"]) == ("conflict", 0)
        assert state["heard"] >= 1
        if line:
            await wait_until(lambda: wire.recv(16) == b"LINE\x01")
        else:
            with pytest.raises(BlockingIOError):
                wire.recv(16)


@asynccontextmanager
async def asyncio_wire() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setblocking(False)
        yield wire


@pytest.mark.hil
@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "open"},
        {"do": "open", "card": "nowhere.toml"},
        {"do": "open", "card": DUAL_RING, "wire": 1},
        {"do": "verdict"},
        {"do": "verdict", "monitor": "1"},
        {"do": "tell", "monitor": 1, "lamps": "zz"},
        {"do": "tell", "monitor": 1, "lamps": "00"},
        {"do": "tell", "monitor": 1, "lamps": 7},
    ],
)
async def test_what_it_cannot_do_it_says(request_: dict[str, Any]) -> None:
    async with rack() as address:
        await ask(address, {"do": "open", "card": DUAL_RING})
        with pytest.raises(ControlError):
            await ask(address, request_)
        assert (await ask(address, {"do": "verdict", "monitor": 1}))["state"]["samples"] == 0
