"""A campaign of adversarial commands against the kernel: drawn, judged, and each verdict held against the promises.

A campaign is a row of chunks. Chunk n of seed s is always the same, wherever and in whatever order it runs.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from time import perf_counter
from typing import Any

from agent.safety.kernel import judge
from agent.safety.verdict import Approved, Refused
from tests.proof.draws import Pools, pools
from tests.proof.promises import broken, must_pass

CHUNK_CASES = 50_000
REASON_LENGTH_MAX = 200
AGAIN_EVERY = 16
"""One case in so many is judged twice."""


@dataclass(slots=True)
class Tally:
    """What came out of some cases."""

    cases: int = 0
    judge_s: float = 0.0
    approved: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take in what another chunk counted."""
        self.cases += other.cases
        self.judge_s += other.judge_s
        self.approved += other.approved
        self.refused += other.refused
        self.faults += other.faults


def seed_of(seed: int, chunk: int) -> int:
    """The seed of one chunk."""
    return seed * 1_000_003 + chunk


@lru_cache(1)
def _drawn(seed: int) -> tuple[Pools, Any]:
    """What a chunk draws from, and the generator's state after making it: the first chunk is asked for again and again."""
    random = Random(seed)
    return pools(random), random.getstate()


def run_chunk(seed: int, chunk: int, cases: int = CHUNK_CASES) -> Tally:
    """Judge the cases of one chunk; stop at its first fault, which is told so that it can be replayed."""
    random, tally = Random(), Tally()
    drawn, state = _drawn(seed_of(seed, chunk))
    random.setstate(state)
    for number in range(cases):
        fault = _one(random, drawn, tally, again=number % AGAIN_EVERY == 0)
        tally.cases += 1
        if fault:
            tally.faults.append(f"seed {seed}, chunk {chunk}, case {number}: {fault}")
            break
    return tally


def _one(random: Random, drawn: Pools, tally: Tally, *, again: bool) -> str:
    command = _pick(random, drawn.commands)
    standing = _pick(random, drawn.standings)
    readings = drawn.readings.get(getattr(command, "equipment", None))  # type: ignore[arg-type]
    seen = None if readings is None else _pick(random, readings)
    began = perf_counter()
    try:
        verdict = judge(command, drawn.site, seen, standing, drawn.now_ms)
    except Exception as error:  # noqa: BLE001 - that nothing is ever raised is what is tested
        return f"raised {error!r} for {_told(command, seen, standing, drawn)}"
    tally.judge_s += perf_counter() - began
    found = broken(command, drawn.site, seen, standing, drawn.now_ms)
    wrong = _against(verdict, found, command, standing, tally)
    if not wrong and again and judge(command, drawn.site, seen, standing, drawn.now_ms) != verdict:
        wrong = "another verdict the second time"
    return f"{wrong}: {verdict}: {_told(command, seen, standing, drawn)}" if wrong else ""


def _pick(random: Random, values: list[Any]) -> Any:
    return values[int(random.random() * len(values))]


def _against(verdict: object, found: list[tuple[str, str]], command: Any, standing: Any, tally: Tally) -> str:
    """What is wrong with a verdict, in a word."""
    if isinstance(verdict, Approved):
        tally.approved[type(command).__name__] += 1
        if verdict.command is not command:
            return "approved another command"
        return f"approved, and it breaks {found}" if found else ""
    if not isinstance(verdict, Refused):
        return "no verdict at all"
    tally.refused[verdict.rule] += 1
    if not 0 < len(verdict.reason) <= REASON_LENGTH_MAX:
        return "a reason nobody can read"
    if not found:
        return "refused, and it breaks no promise"
    if verdict.rule not in {rule for rule, _ in found}:
        return f"refused by a rule it does not break; it breaks {found}"
    if found[0][0] != "SR-01" and must_pass(command, standing):
        return "refused to give back"
    return ""


def _told(command: object, seen: object, standing: object, drawn: Pools) -> str:
    return f"{command}\n  seen {seen}\n  standing {standing}\n  now {drawn.now_ms}, site {drawn.site.equipment}"
