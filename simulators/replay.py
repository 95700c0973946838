"""A signal controller that shows what a real junction showed, served by the same SNMP agent.

The recorded time runs with the clock times ``speed``, or is advanced by a test in lockstep
(``speed`` 0 and ``advance_to``). Above about 10 a poll every 100 ms begins to miss yellows:
use lockstep and ``event_times`` to be faster than the wall clock and miss nothing.
Flash requests, the backup watchdog and the monitor's line work as in the simulated controller;
nothing can change what was recorded.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from simulators.clock import Clock, RealClock
from simulators.recording import Overlap, Recording
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.aspects import PEDESTRIAN_PHASES, Picture, bit
from simulators.signal_controller.controller import SignalController
from simulators.signal_controller.demand import TENTHS, Demand
from simulators.signal_controller.event_log import EventLog
from simulators.signal_controller.program import Phase, Program
from simulators.signal_controller.signal_cabinet import SignalCabinet


def junction_1136_program(recording: Recording) -> Program:
    """Return the recorded junction's own times, as observed (see ``recording``)."""
    min_green_s = {2: 10.0, 5: 4.0, 6: 10.0, 8: 6.0}
    phases = tuple(
        Phase(
            number,
            ring=1 if number in (5, 6) else 0,
            barrier=1 if number == 8 else 0,
            min_green_s=min_green_s.get(number, 4.0),
            yellow_s=4.0,
            red_clear_s=1.5,
            walk_s=8.0 if number in recording.pedestrian_phases else 0.0,
            ped_clear_s=26.0 if number in recording.pedestrian_phases else 0.0,
        )
        for number in recording.phases
    )
    channels = sum(bit(number) for number in recording.phases)
    channels |= sum(bit(9 + PEDESTRIAN_PHASES.index(number)) for number in recording.pedestrian_phases)
    return Program(phases, start_phases=frozenset(), channels=channels)


class ReplayKernel:
    """Shows the recording. A request to clear is met at once: the past takes no orders."""

    def __init__(self, program: Program, recording: Recording, speed: float) -> None:
        self.program = program
        self.ended = 0
        self.position_s = 0.0
        self._recording = recording
        self._speed = speed
        self._tenth: int | None = None
        self._cleared = False

    @property
    def all_red(self) -> bool:
        """True once a flash was asked for."""
        return self._cleared

    @property
    def finished(self) -> bool:
        """The recording has ended."""
        return self.position_s >= self._recording.end_s

    def restart(self, tenth: int) -> None:
        """Go on showing; the recorded time never stopped."""
        self._cleared = False
        self._follow(tenth)

    def go_dark(self) -> None:
        """The lamps are taken away; nothing to forget."""

    def tick(self, tenth: int, demand: Demand) -> None:
        """Advance to ``tenth``."""
        self._cleared = demand.clear
        self._follow(tenth)

    def _follow(self, tenth: int) -> None:
        if self._tenth is not None:
            self.position_s += max(0, tenth - self._tenth) / TENTHS * self._speed
        self._tenth = tenth

    def picture(self) -> Picture:
        """Return what was shown."""
        return self._recording.at(self.position_s)


class Replay(SignalCabinet):
    """A cabinet that replays. Use ``async with Replay.serve_recording() as replay``."""

    recording: Recording
    kernel: ReplayKernel

    def event_times(self) -> list[float]:
        """Return every recorded moment at which something changes, in seconds."""
        return self.recording.event_times()

    def advance_to(self, log_s: float) -> None:
        """Move the recorded time, in lockstep with a test; it never runs back."""
        if log_s < self.kernel.position_s:
            raise ValueError(f"recorded time is at {self.kernel.position_s:.1f} s and never runs back")
        self.kernel.position_s = log_s

    def splice(self, overlap: Overlap) -> None:
        """Inject one overlapping green. Raises RecordingError."""
        self.recording.splice(overlap)

    @classmethod
    @asynccontextmanager
    async def serve_recording(
        cls,
        port: int = 0,
        control: str | None = None,
        monitor: tuple[str, int] | None = None,
        clock: Clock | None = None,
        recording: Recording | None = None,
        path: Path | None = None,
        speed: float = 0.0,
        communities: Communities | None = None,
        backup_s: int = 60,
    ) -> AsyncIterator["Replay"]:
        """Serve a recording on 127.0.0.1; ``speed`` 0 waits for ``advance_to``. Raises RecordingError."""
        clock = clock or RealClock()
        recording = recording or Recording.load(path)
        program = junction_1136_program(recording)
        kernel = ReplayKernel(program, recording, speed)
        controller = SignalController(program, kernel, EventLog(), None, backup_s, started=True)
        replay = cls(controller, clock, communities or Communities(), time.time() - clock.now_s())
        replay.recording, replay.kernel = recording, kernel
        replay.stand.actions["position"] = lambda _request: {"position_s": kernel.position_s, "end_s": recording.end_s}
        async with replay.running(port, control, monitor):
            yield replay
