"""An independent conflict monitor: lamps in, flash line out. It knows nothing of phases, plans or commands.

Its own process, its own matrix file, its own memory. Figures of a published 16-channel monitor manual:
a conflict latches once it has lasted 300 ms in all, its timer is cleared by 666 ms without one; no
colour at all on a channel latches after 800 ms; two colours on one channel after 1000 ms. A latched
fault survives power loss and is cleared at the front button only.
"""

import asyncio
import json
import os
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from simulators.background import alongside
from simulators.clock import Clock, RealClock
from simulators.control_socket import Answer, ControlError
from simulators.device import Stand
from simulators.faults import FaultPanel
from simulators.lamp_wire import LampWireError, decode_lamps, encode_line
from simulators.signal_controller.aspects import Lamps, bit, numbers

SAMPLE_S = 0.05
CONFLICT_S, CONFLICT_CLEAR_S = 0.300, 0.666
RED_FAIL_S, DUAL_S = 0.800, 1.000
FEED_LOST_S = 1.0
FAULTS = ("silent",)  # without power: no line, so the controller's relay drops to flash
CARDS = Path(__file__).parent / "monitor_cards"
CHANNELS_MAX = 16


class CardError(ValueError):
    """The program card cannot be read; the monitor must not start."""


@dataclass(frozen=True, slots=True)
class Card:
    """What may be lit together: for each channel, the mask of those it conflicts with."""

    conflicts: Mapping[int, int]
    watch_red: int

    @classmethod
    def load(cls, path: Path) -> "Card":
        """Read a program card.

        Raises:
            CardError: missing, not TOML, or with channels that do not exist.
        """
        try:
            text = tomllib.loads(path.read_text())
            channels = sorted({_channel(number) for number in text["channels"]})
            permitted = {frozenset({_channel(a), _channel(b)}) for a, b in text["permit"]}
            watch = sum(bit(_channel(number)) for number in set(text["watch_red"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CardError(f"program card {path.name}: {error}") from error
        conflicts = dict.fromkeys(channels, 0)
        for a, b in combinations(channels, 2):
            if frozenset({a, b}) not in permitted:
                conflicts[a] |= bit(b)
                conflicts[b] |= bit(a)
        return cls(conflicts, watch)


def _channel(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= CHANNELS_MAX:
        raise CardError(f"channel must be 1..{CHANNELS_MAX}, got {number!r}")
    return number


@dataclass(slots=True)
class Stopwatch:
    """Adds up the time a condition lasts; a clean stretch of ``clear_s`` sets it back."""

    clear_s: float
    total_s: float = 0.0
    clean_s: float = 0.0

    def note(self, present: bool, elapsed_s: float) -> float:
        """Add one sample and return the total."""
        if present:
            self.total_s += elapsed_s
            self.clean_s = 0.0
        else:
            self.clean_s += elapsed_s
            if self.clean_s >= self.clear_s:
                self.total_s = 0.0
        return self.total_s


@dataclass(slots=True)
class Fault:
    """What tripped the monitor: kind, channels, and what was lit then."""

    kind: str
    channels: tuple[int, ...]
    lit: dict[str, tuple[int, ...]] = field(default_factory=dict)
    at_s: float | None = field(default=None, compare=False)  # by a clock that begins anew with the monitor


class ConflictMonitor:
    """The monitor's judgement and memory. ``sample`` is pure but for the latch file.

    Args:
        card: what may be lit together.
        latch_file: where a fault is kept; None keeps it in memory only.
    """

    def __init__(self, card: Card, latch_file: Path | None = None) -> None:
        self._card = card
        self._latch_file = latch_file
        self._faults = FaultPanel(FAULTS)
        self._conflict = Stopwatch(CONFLICT_CLEAR_S)
        self._red = {number: Stopwatch(0.3) for number in numbers(card.watch_red)}
        self._dual = {number: Stopwatch(0.3) for number in card.conflicts}
        self._now_s: float | None = None
        self.samples = 0
        self.samples_blind = 0
        self.samples_conflicting = 0
        self.resets = 0
        self.feed_lost = False
        self.latched = self._remembered()

    @property
    def faults(self) -> FaultPanel:
        """Its fault switches."""
        return self._faults

    @property
    def flash(self) -> bool:
        """The output relay: flash while a fault is latched or the lamps cannot be seen."""
        return self.latched is not None or self.feed_lost

    def step(self, now_s: float) -> None:
        """Nothing moves between samples."""

    def sample(self, now_s: float, lamps: Lamps | None) -> None:
        """Judge what is lit now; ``lamps`` is None when the feed has stopped."""
        elapsed_s = 0.0 if self._now_s is None else round(min(max(0.0, now_s - self._now_s), 2 * SAMPLE_S), 6)
        self._now_s = now_s
        self.samples += 1
        self.feed_lost = lamps is None
        self.samples_blind += lamps is None
        if lamps is None or self.latched is not None:
            return
        pair = self.conflict(lamps)
        self.samples_conflicting += pair is not None
        if self._conflict.note(pair is not None, elapsed_s) >= CONFLICT_S and pair is not None:
            self._latch("conflict", pair, lamps)
            return
        anything = lamps.reds | lamps.yellows | lamps.greens
        for number, watch in self._red.items():
            dark = lamps.red_enable and not anything & bit(number)
            if watch.note(dark, elapsed_s) >= RED_FAIL_S:
                self._latch("red_fail", (number,), lamps)
                return
        several = lamps.reds & lamps.yellows | lamps.reds & lamps.greens | lamps.yellows & lamps.greens
        for number, watch in self._dual.items():
            if watch.note(bool(several & bit(number)), elapsed_s) >= DUAL_S:
                self._latch("dual_indication", (number,), lamps)
                return

    def conflict(self, lamps: Lamps) -> tuple[int, int] | None:
        """Return a pair of channels with green against green or green against yellow."""
        moving = lamps.greens | lamps.yellows
        for number in numbers(lamps.greens):
            against = moving & self._card.conflicts.get(number, 0)
            if against:
                return number, numbers(against)[0]
        return None

    def press_reset(self) -> None:
        """The front button: the only way to clear a latched fault."""
        self.latched = None
        self.resets += 1
        self._conflict = Stopwatch(CONFLICT_CLEAR_S)
        for watch in (*self._red.values(), *self._dual.values()):
            watch.total_s = 0.0
        if self._latch_file is not None:
            self._latch_file.unlink(missing_ok=True)

    def _latch(self, kind: str, channels: tuple[int, ...], lamps: Lamps) -> None:
        lit = {"reds": numbers(lamps.reds), "yellows": numbers(lamps.yellows), "greens": numbers(lamps.greens)}
        self.latched = Fault(kind, channels, lit, self._now_s)
        if self._latch_file is None:
            return
        fresh = self._latch_file.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"kind": kind, "channels": channels, "lit": lit}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._latch_file)

    def _remembered(self) -> Fault | None:
        """Read the latch; one that cannot be read counts as latched."""
        if self._latch_file is None or not self._latch_file.exists():
            return None
        try:
            kept = json.loads(self._latch_file.read_text())
            lit = {colour: tuple(channels) for colour, channels in kept["lit"].items()}
            return Fault(str(kept["kind"]), tuple(kept["channels"]), lit)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Fault("unreadable_memory", ())

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Nothing around a monitor can be changed but its faults and its button."""
        raise ControlError("a conflict monitor takes no stimulus; do press_reset")

    def state(self) -> dict[str, Any]:
        """Describe the monitor."""
        latched = self.latched
        return {
            "faults": self._faults.listed(),
            "flash": self.flash,
            "feed_lost": self.feed_lost,
            "latched": None if latched is None else latched.kind,
            "channels": [] if latched is None else list(latched.channels),
            "lit": {} if latched is None else {colour: list(lit) for colour, lit in latched.lit.items()},
            "at_s": None if latched is None else latched.at_s,
            "samples": self.samples,
            "samples_blind": self.samples_blind,
            "samples_conflicting": self.samples_conflicting,
            "resets": self.resets,
        }


class MonitorBox(asyncio.DatagramProtocol):
    """The monitor on its wires. Use ``async with MonitorBox.serve(card) as box``."""

    def __init__(self, monitor: ConflictMonitor, clock: Clock) -> None:
        self.monitor = monitor
        self.stand = Stand({1: monitor}, clock, tick_s=1.0)
        self.stand.actions["press_reset"] = self._press_reset
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self._lamps: Lamps | None = None
        self._heard_s = 0.0
        self._controller: tuple[str, int] | None = None
        self.datagrams = 0
        self.datagrams_broken = 0
        self.port = 0

    def _press_reset(self, _request: Mapping[str, Any]) -> Answer:
        self.monitor.press_reset()
        return {}

    def fault(self, spec: str, on: bool = True) -> None:
        """Switch a fault."""
        self.monitor.faults.switch(spec, on)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own class derives from neither
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take what is lit."""
        try:
            self._lamps = decode_lamps(data)
        except LampWireError:
            self.datagrams_broken += 1
            return
        self.datagrams += 1
        self._heard_s, self._controller = self._clock.now_s(), addr

    async def watch(self) -> None:
        """Sample for as long as the box is on its wires; whoever put it there cancels this."""
        while True:
            now_s = self._clock.now_s()
            if self._controller is not None:
                lost = now_s - self._heard_s > FEED_LOST_S
                self.monitor.sample(now_s, None if lost else self._lamps)
                if self._transport is not None and not self.monitor.faults.on("silent"):
                    self._transport.sendto(encode_line(self.monitor.flash), self._controller)
            await asyncio.sleep(SAMPLE_S)

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        card: Path = CARDS / "dual_ring.toml",
        latch_file: Path | None = None,
        port: int = 0,
        control: str | None = None,
        clock: Clock | None = None,
    ) -> AsyncIterator["MonitorBox"]:
        """Watch on 127.0.0.1 until the block ends. Raises CardError before it watches anything."""
        box = cls(ConflictMonitor(Card.load(card), latch_file), clock or RealClock())
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: box, local_addr=("127.0.0.1", port))
        try:
            async with alongside(box.watch()), box.stand.run(control):
                yield box
        finally:
            transport.close()
