"""The conflict monitor: figures, memory, and its wires."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.conflict_monitor import CARDS, SAMPLE_S, Card, CardError, ConflictMonitor, MonitorBox
from simulators.lamp_wire import LampWireError, decode_lamps, decode_line, encode_lamps, encode_line
from simulators.signal_controller.aspects import Lamps, bit
from simulators.signal_controller.signal_cabinet import SignalCabinet

RED = 0xFFF
GOOD = Lamps(RED & ~bit(2) & ~bit(6), 0, bit(2) | bit(6), True)
CONFLICT = Lamps(RED & ~bit(2) & ~bit(4), 0, bit(2) | bit(4), True)
GREEN_YELLOW = Lamps(RED & ~bit(2) & ~bit(4), bit(4), bit(2), True)
WORDS = st.integers(0, 0xFFFF)


def monitor(latch: Path | None = None) -> ConflictMonitor:
    return ConflictMonitor(Card.load(CARDS / "dual_ring.toml"), latch)


def watch(watched: ConflictMonitor, *stretches: tuple[Lamps, float], start_s: float = 0.0) -> None:
    now_s = start_s
    for lamps, seconds in stretches:
        for _ in range(round(seconds / SAMPLE_S)):
            now_s += SAMPLE_S
            watched.sample(now_s, lamps)


@pytest.mark.parametrize("lamps", [CONFLICT, GREEN_YELLOW])
@pytest.mark.parametrize(("seconds", "latched"), [(0.25, False), (0.40, True)])
def test_sr_02_a_conflict_latches_from_300_ms_on(lamps: Lamps, seconds: float, latched: bool) -> None:
    watched = monitor()
    watch(watched, (GOOD, 1), (lamps, seconds), (GOOD, 0.1))
    assert watched.flash is latched
    if latched:
        assert watched.latched is not None
        assert (watched.latched.kind, watched.latched.channels) == ("conflict", (2, 4))


@pytest.mark.parametrize(("pause_s", "latched"), [(0.5, True), (0.8, False)])
def test_short_conflicts_add_up_until_a_clean_stretch_of_666_ms(pause_s: float, latched: bool) -> None:
    watched = monitor()
    watch(watched, (GOOD, 1), (CONFLICT, 0.2), (GOOD, pause_s), (CONFLICT, 0.2))
    assert watched.flash is latched


def test_sr_03_a_dark_channel_is_a_red_failure_after_800_ms() -> None:
    dark = Lamps(GOOD.reds & ~bit(4), 0, GOOD.greens, True)
    for seconds, latched in ((0.7, False), (0.9, True)):
        watched = monitor()
        watch(watched, (GOOD, 1), (dark, seconds))
        assert watched.flash is latched
    flashing = monitor()
    watch(flashing, (Lamps(), 5))
    assert not flashing.flash, "a flashing junction has no red enable"


def test_two_colours_on_one_channel_latch() -> None:
    watched = monitor()
    watch(watched, (Lamps(GOOD.reds | bit(2), 0, GOOD.greens, True), 1.2))
    assert watched.latched is not None
    assert watched.latched.kind == "dual_indication"


def test_sr_13_a_latched_fault_survives_a_restart_and_yields_to_the_button_only(tmp_path: Path) -> None:
    latch = tmp_path / "latch.json"
    first = monitor(latch)
    watch(first, (CONFLICT, 0.5))
    second = monitor(latch)
    watch(second, (GOOD, 60))
    assert second.flash
    assert second.latched == first.latched
    second.press_reset()
    assert not second.flash
    assert not monitor(latch).flash


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"kind": 1}', "\x00\xff"])
def test_a_memory_that_cannot_be_read_counts_as_latched(tmp_path: Path, content: str) -> None:
    latch = tmp_path / "latch.json"
    latch.write_text(content)
    assert monitor(latch).flash


@pytest.mark.parametrize(
    "text",
    [
        "",
        "channels = 3",
        "channels=[1]\npermit=[[1,99]]\nwatch_red=[]",
        "channels=[1,2]\npermit=[[1]]\nwatch_red=[]",
        "not toml =",
    ],
)
def test_a_bad_program_card_is_refused_in_words(tmp_path: Path, text: str) -> None:
    card = tmp_path / "card.toml"
    card.write_text(text)
    with pytest.raises(CardError, match=r"card\.toml"):
        Card.load(card)


@given(st.builds(Lamps, WORDS, WORDS, WORDS, st.booleans()), st.integers(0, 2**32))
def test_lamps_cross_the_wire_unchanged(lamps: Lamps, sequence: int) -> None:
    assert decode_lamps(encode_lamps(sequence, lamps)) == lamps


@given(st.binary(max_size=40))
def test_noise_on_the_lamp_wires_is_an_error_or_a_reading(noise: bytes) -> None:
    for decode in (decode_lamps, decode_line):
        with contextlib.suppress(LampWireError):
            decode(noise)


def test_the_flash_line_crosses_the_wire_unchanged() -> None:
    assert [decode_line(encode_line(flash)) for flash in (True, False)] == [True, False]


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another party's state, seen from outside
            await asyncio.sleep(0.02)


async def wait_flash(cabinet: SignalCabinet, status: str) -> None:
    await wait_until(lambda: cabinet.controller.flash_status().name == status)


@pytest.mark.hil
async def test_a_stuck_green_output_sends_the_junction_to_flash_until_the_button_is_pressed(tmp_path: Path) -> None:
    async with (
        MonitorBox.serve(latch_file=tmp_path / "latch.json") as box,
        SignalCabinet.serve(monitor=("127.0.0.1", box.port), started=True) as cabinet,
    ):
        await wait_until(lambda: box.monitor.samples >= 5)
        assert not box.monitor.flash
        cabinet.fault("stuck_green:4")
        await wait_flash(cabinet, "MMU")
        cabinet.fault("stuck_green", on=False)
        sampled = box.monitor.samples
        await wait_until(lambda: box.monitor.samples >= sampled + 5)
        assert cabinet.controller.flash_status().name == "MMU"
        box.monitor.press_reset()
        await wait_flash(cabinet, "STARTUP")


@pytest.mark.hil
async def test_a_monitor_without_power_drops_the_junction_to_flash() -> None:
    async with (
        MonitorBox.serve() as box,
        SignalCabinet.serve(monitor=("127.0.0.1", box.port), started=True) as cabinet,
    ):
        await wait_until(lambda: box.monitor.samples >= 5)
        box.fault("silent")
        await wait_flash(cabinet, "MMU")
