"""Who judges what the lamps show: a conflict monitor in a process of its own, by a matrix of its own, 50 ms apart.

It shares nothing with the guard, nor with the test, but the lamp wire. Where a test moves the clock by hand the
controller shows it every tenth of a second; where the clock runs, the monitor hears the controller's UDP wire. A test
in which conflicts are wanted says so where its junction starts, and then the monitor must have seen one.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from simulators.conflict_monitor import CARDS
from simulators.lamp_wire import LAMP_PERIOD_S, Moment, encode_moment
from simulators.signal_controller.aspects import Lamps
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.tree import ROOT
from tests.waiting import wait_until

SAMPLE_MS = 50
DUAL_RING = CARDS / "dual_ring.toml"
START_TIMEOUT_S, ANSWER_TIMEOUT_S, SEEN_TIMEOUT_S = 30.0, 20.0, 5.0
MOMENTS_AT_ONCE = 128
SAMPLED_LEAST = 0.5  # of the samples there were time for, where a busy machine runs the clock
Verdict = Literal["clear", "brief", "conflict", "red_fail", "dual_indication"] | None
"""What the monitor must have seen: no conflict in any sample, one too short to latch (300 ms), or what latched.

None leaves it open; whoever does says why.
"""
State = dict[str, Any]
Cabinet = TypeVar("Cabinet", bound=SignalCabinet)


class RefereeLostError(AssertionError):
    """The monitor's process, or something it should have been told, is gone: nothing was judged."""


class Rack:
    """The process with the monitors, and one connection to it.

    Args:
        process: serves; a child of whoever started it.
        port: of its control lines.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port
        self.is_lost = False
        self._unanswered = 0
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S)
        self._lines = self._socket.makefile("rwb")

    @classmethod
    def start(cls) -> Self:
        """Start a process; it must be ready in START_TIMEOUT_S."""
        command = (sys.executable, "-m", "simulators.cli", "monitors", "--until-eof")
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            spoken, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            words = process.stdout.readline().split() if spoken else []
            if len(words) != 2 or words[0] != b"ready":
                raise RefereeLostError(f"the conflict monitors did not start, they said {words}")
            return cls(process, int(words[1]))
        except BaseException:  # Whatever it was, no process is left behind.
            process.kill()
            process.communicate()
            raise

    def end(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._lines.close()
        self._socket.close()
        self.process.terminate()
        self.process.communicate(timeout=ANSWER_TIMEOUT_S)

    def post(self, request: State) -> None:
        """Say something; the answer is waited for with the next."""
        self._settle()
        with self._losing():
            self._lines.write(json.dumps(request).encode() + b"\n")
            self._lines.flush()
        self._unanswered += 1

    def ask(self, request: State) -> State:
        """Say something and wait for the answer."""
        self.post(request)
        return self._settle()

    def _settle(self) -> State:
        answer: State = {}
        for _ in range(self._unanswered):
            with self._losing():
                answer = json.loads(self._lines.readline())
            self._unanswered -= 1
            if not answer.get("ok"):
                raise RefereeLostError(f"the conflict monitors refused: {answer}")
        return answer

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Whoever was interrupted here no longer knows which answer belongs to what: the next test has others."""
        is_lost, self.is_lost = self.is_lost, True
        try:
            yield
        except (OSError, ValueError) as error:
            raise RefereeLostError(f"the conflict monitors are gone: {error}") from error
        self.is_lost = is_lost


_RACKS: dict[int, Rack] = {}
"""By the pid of who asks them."""


def rack() -> Rack:
    """The process this one's junctions are judged by, started once; a fork of this process has its own connection."""
    mine = _RACKS.get(os.getpid())
    if mine is None and _RACKS:
        served = next(iter(_RACKS.values()))
        mine = Rack(served.process, served.port)
    elif mine is None or mine.is_lost or mine.process.poll() is not None:
        mine = Rack.start()
        atexit.register(mine.end)
    _RACKS[os.getpid()] = mine
    return mine


class Judge:
    """The monitor of one junction.

    Args:
        verdict: what it must have seen in the end.
        card: the program card its process reads.
    """

    def __init__(self, verdict: Verdict, card: Path, **how: bool) -> None:
        self._verdict, self._rack = verdict, rack()
        opened = self._rack.ask({"do": "open", "card": str(card), **how})
        self._monitor = {"monitor": opened["monitor"]}
        self.address = ("127.0.0.1", int(opened.get("port", 0)))
        """Where it hears lamps, if it is on the wire."""

    def state(self) -> State:
        """What it says by now."""
        state: State = self._rack.ask({"do": "verdict", **self._monitor})["state"]
        return state

    def check(self, state: State) -> None:
        """Fail if that is not what it should have seen."""
        seen = state["latched"] or ("brief" if state["samples_conflicting"] else "clear")
        assert self._verdict in (None, seen), (
            f"the conflict monitor's verdict is {seen!r}, not {self._verdict!r}: {state}"
        )

    def close(self) -> None:
        """It is not needed any more."""
        with suppress(RefereeLostError):
            self._rack.post({"do": "close", **self._monitor})


class TellingJudge(Judge):
    """The same where the clock is moved by hand: it is told what is lit and from when on. What stays is told once."""

    def __init__(self, verdict: Verdict, card: Path) -> None:
        super().__init__(verdict, card)
        self._block = bytearray()
        self._count = 0
        self._shown_ms = 0
        self._last = Lamps()
        self._lost: RefereeLostError | None = None

    def show(self, now_s: float, lamps: Lamps) -> None:
        """Show what is lit now."""
        self._shown_ms = round(1000 * now_s)
        if lamps == self._last and self._count:
            return
        self._last = lamps
        self._add()
        if self._count % MOMENTS_AT_ONCE == 0:
            self._tell()

    def state(self) -> State:
        """What it says up to when it was last shown anything."""
        self._add()
        self._tell()
        if self._lost is not None:
            raise self._lost
        return super().state()

    def _add(self) -> None:
        self._count += 1
        self._block += encode_moment(Moment(self._shown_ms, self._count, self._last))

    def _tell(self) -> None:
        # The controller that shows its lamps need not know that nobody listens: the end does.
        try:
            self._rack.post({"do": "tell", **self._monitor, "lamps": self._block.hex()})
        except RefereeLostError as error:
            self._lost = error
        self._block.clear()


@contextmanager
def judging(now_s: Callable[[], float], verdict: Verdict = "clear", card: Path = DUAL_RING) -> Iterator[TellingJudge]:
    """Have what is shown to the judge judged, every 50 ms of a clock moved by hand, to the end of the block."""
    judge = TellingJudge(verdict, card)
    began_ms = round(1000 * now_s())
    try:
        yield judge
        state = judge.state()
        due = (round(1000 * now_s()) - began_ms) // SAMPLE_MS + 1
        if state["samples"] != due:
            raise RefereeLostError(f"{state['samples']} samples were judged; there was time for {due}")
        judge.check(state)
    finally:
        judge.close()


@contextmanager
def judged(cabinet: SignalCabinet, verdict: Verdict = "clear", card: Path = DUAL_RING) -> Iterator[Judge]:
    """Have a junction whose clock is moved by hand judged: all that its controller shows at any of its steps."""
    with judging(cabinet.stand.clock.now_s, verdict, card) as judge:
        cabinet.controller.witness = judge.show
        try:
            cabinet.stand.step()
            yield judge
            cabinet.stand.step()
        finally:
            cabinet.controller.witness = None


@asynccontextmanager
async def wired(
    serve: Callable[[tuple[str, int]], AbstractAsyncContextManager[Cabinet]],
    verdict: Verdict = "clear",
    card: Path = DUAL_RING,
    line: bool = False,
) -> AsyncIterator[tuple[Cabinet, Judge]]:
    """Have a junction that runs by the clock judged over its lamp wires.

    Args:
        serve: starts it, given its monitor's address.
        line: send the monitor's flash line back to it, as in a real cabinet.
    """
    judge = Judge(verdict, card, wire=True, line=line)
    began_s = time.monotonic()
    try:
        async with serve(judge.address) as cabinet:
            yield cabinet, judge
            await _seen_to_the_end(judge, cabinet)
            state, sent = judge.state(), cabinet.relay.datagrams
            # While the test's loop stands, nothing is sent, and no lamp of its controller changes.
            due = max(1.0, SAMPLED_LEAST * min(sent, (time.monotonic() - began_s) / LAMP_PERIOD_S))
            if state["broken"] or min(state["heard"], state["samples"] - state["samples_blind"]) < due:
                raise RefereeLostError(
                    f"too little was judged of {sent} datagrams, {due:.0f} samples were due: {state}"
                )
            judge.check(state)
    finally:
        judge.close()


async def _seen_to_the_end(judge: Judge, cabinet: SignalCabinet) -> None:
    """Wait until it has seen anything at all, and what latches if that is awaited: the lamps are still as they were."""
    awaited = judge._verdict not in (None, "clear", "brief")

    def is_seen() -> bool:
        state = judge.state()
        return state["samples"] > 0 and (state["latched"] is not None or not awaited)

    with suppress(TimeoutError):
        await wait_until(is_seen, SEEN_TIMEOUT_S)
