"""The faults of one storm: drawn from a seed before it begins, then carried out to the tenth of a second."""

import asyncio
import random
import resource
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.plant import GATEWAYS, JUNCTION, LIGHTING, PARTIES, ROOMS, Plant

PAUSE_S = (0.2, 2.5)
"""Between the beginnings of two faults."""
BROKEN_S_MAX = 15.0
"""And no more than a quarter of the storm."""
LOG_BYTES = 32_768
"""A process whose disk is full may still say so."""
PROGRAMS = ("guard", f"agent {JUNCTION}", f"agent {LIGHTING}", "fleet", *ROOMS)
LINES = (*2 * PARTIES, *(f"{party}/{room}" for party in PARTIES for room in ROOMS))
"""A party by both its lines, or by one; the former as often."""
_OTHER = {"up": "down", "down": "up"}
KINDS = {"kill": 6, "freeze": 3, "silence": 3, "reset": 3, "half-close": 1, "slow": 2, "delay": 1, "cut": 1, "full": 1}
"""What can happen, and how often beside the others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        at_s: after the storm's beginning. target: a program, a party or one of its lines. lasts_s: until it is put right.
        how: a way (``up``, ``down``, ``both``), bytes per second or seconds of delay, as the kind wants it.
    """

    at_s: float
    kind: str
    target: str
    lasts_s: float
    how: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.kind:10} {self.target:20} {self.how:7} for {self.lasts_s:.1f} s"


def draw(seed: int, seconds: float) -> list[Fault]:
    """The faults of one seed, by time; all are put right by ``seconds``."""
    dice = random.Random(seed)
    faults: list[Fault] = []
    at_s = dice.uniform(*PAUSE_S)
    while at_s < seconds - 1:
        kind = dice.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        faults.append(_fault(dice, kind, at_s, min(BROKEN_S_MAX, seconds / 4, seconds - at_s)))
        at_s += dice.uniform(*PAUSE_S)
    return faults


def _fault(dice: random.Random, kind: str, at_s: float, longest_s: float) -> Fault:
    short_s, long_s = dice.uniform(0, min(3.0, longest_s)), dice.uniform(min(1.0, longest_s), longest_s)
    line = dice.choice(LINES)
    match kind:
        case "kill":
            return Fault(at_s, kind, dice.choice(PROGRAMS), short_s)
        case "freeze":
            target = dice.choice(PROGRAMS)
            return Fault(at_s, kind, target, short_s if target == "guard" else long_s)
        case "full":
            return Fault(at_s, kind, dice.choice([each for each in PROGRAMS if each not in ROOMS]), long_s)
        case "silence":
            return Fault(at_s, kind, line, long_s, dice.choice(("both", "up", "down")))
        case "slow":
            return Fault(at_s, kind, line, long_s, str(dice.choice((1_000, 5_000, 20_000))))
        case "delay":
            return Fault(at_s, kind, line, long_s, str(dice.choice((0.1, 0.4, 1.5))))
        case "cut":
            return Fault(at_s, kind, dice.choice((*GATEWAYS, "room")), short_s)
    return Fault(at_s, kind, line, 0.0)


@dataclass(slots=True)
class Storm:
    """Carries out faults, and counts those that met something to break."""

    plant: Plant
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, faults: list[Fault]) -> None:
        """Carry out all of them; everything runs and every line is good on return."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
                group.create_task(self._do(fault))
        self.put_right()

    def put_right(self) -> None:
        """Heal every line, thaw and start every program."""
        for line in self.plant.lines.values():
            line.heal()
        for each in self.plant.programs.values():
            if each.lives and each.is_running and not each.is_free:
                each.thaw(each.life)
            each.start()

    def cut_all(self) -> None:
        """Power fails everywhere at once, and comes back."""
        for each in self.plant.programs.values():
            each.kill()
        self.counts["power cut of everything"] += 1
        for each in self.plant.programs.values():
            each.start()

    async def _do(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                await self._kill([fault.target], fault)
            case "cut":
                here = {JUNCTION: [f"agent {JUNCTION}", "guard"], LIGHTING: [f"agent {LIGHTING}"]}
                await self._kill(here.get(fault.target, ["fleet", *ROOMS]), fault)
            case "freeze":
                await self._freeze(fault)
            case "full":
                await self._fill(fault)
            case _:
                await self._spoil(fault)

    async def _kill(self, targets: list[str], fault: Fault) -> None:
        killed = [each for each in targets if self.plant.programs[each].kill()]
        self.counts[f"{fault.kind} {fault.target}"] += bool(killed)
        await asyncio.sleep(fault.lasts_s)
        for each in killed:
            self.plant.programs[each].start()

    async def _freeze(self, fault: Fault) -> None:
        program = self.plant.programs[fault.target]
        if (life := program.freeze()) is not None:
            self.counts[f"freeze {fault.target}"] += 1
            await asyncio.sleep(fault.lasts_s)
            program.thaw(life)

    async def _fill(self, fault: Fault) -> None:
        """Let no file of a process grow beyond what everybody's log needs."""
        program = self.plant.programs[fault.target]
        logs = [each.log.stat().st_size for each in self.plant.programs.values() if each.log.exists()]
        if not program.is_running:
            return
        pid, limits = program.life.pid, (max(logs) + LOG_BYTES, resource.RLIM_INFINITY)
        with suppress(ProcessLookupError):  # It is killed meanwhile.
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
            self.counts[f"full {fault.target}"] += 1
            await asyncio.sleep(fault.lasts_s)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    async def _spoil(self, fault: Fault) -> None:
        lines = self.plant.lines_of(fault.target)
        ways = [
            way for line in lines for name, way in (("up", line.up), ("down", line.down)) if fault.how != _OTHER[name]
        ]
        match fault.kind:
            case "reset":
                for line in lines:
                    line.reset()
            case "half-close":
                for line in lines:
                    line.half_close()
            case "silence":
                for way in ways:
                    way.silence(on=True)
            case "slow":
                for way in ways:
                    way.bytes_per_s = int(fault.how)
            case "delay":
                for way in ways:
                    way.delay_s = float(fault.how)
        self.counts[f"{fault.kind} {fault.target}"] += 1
        await asyncio.sleep(fault.lasts_s)
        for line in lines:
            line.heal()
