"""What can be proven of a site, junction by junction, and how it was proven. Pure.

A junction with more states than ``search.STATES_MAX`` is proven pair by pair: every property but P5 speaks of one group
or of two that conflict. A pair that may be asked for anything at any step does all it ever does inside the junction,
where other groups can only delay it; so what no pair can show, the junction cannot show.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from agent.commission.auditor import Auditor, Breach
from agent.commission.controller import STEP_MS_MIN, Controller, step_ms_of
from agent.commission.crosscheck import SAMPLES, watched
from agent.commission.plausibility import Finding, findings_of, notes_of
from agent.commission.response import NEVER, WAIT_MS_MAX, slowest, walk
from agent.commission.search import STATES_MAX, Progress, Searched, search
from agent.commission.second_opinion import NOT_ASKED, Answer, Opinion, second_opinion
from agent.commission.stages import Stages, places, stages_of
from agent.commission.trace import Trace, trace_of
from agent.model.equipment import Junction
from agent.model.identity import EquipmentId
from agent.model.site import Cabinet

INTERGREEN_PROPERTIES = frozenset({"P1", "P4"})
"""What the solver is asked too."""
PROPERTIES = (
    "P1 no conflicting greens or yellows",
    "P2 least greens",
    "P3 yellows",
    "P4 intergreens",
    "P5 every stage within 120 s",
    "P6 flash is left through yellow and all red",
)


@dataclass(frozen=True, slots=True)
class JunctionProof:
    """What was proven of one junction.

    Args:
        method: ``whole``, ``pairs`` or ``none``; see the module. stages: how many. states, transitions: counted.
        wait_ms: the longest wait for a stage that is asked for; None if it was not decided.
        samples: lawful signals the observer was shown, and kept silent.
        breach: the first broken property; ``trace`` shows it.
        opinion: the solver's. disagreement: two of our own parts contradict each other, in words; else empty.
    """

    junction: EquipmentId
    method: str
    step_ms: int
    stages: int
    states: int = 0
    transitions: int = 0
    wait_ms: int | None = None
    samples: int = 0
    breach: Breach | None = None
    trace: Trace | None = None
    opinion: Opinion = NOT_ASKED
    disagreement: str = ""

    @property
    def holds(self) -> bool:
        """Whether everything that was asked was proven, as far as both opinions go."""
        wrong = self.breach is not None or self.disagreement or self.opinion.answer is Answer.UNSAFE
        return not wrong and self.method != "none"


@dataclass(frozen=True, slots=True)
class Report:
    """What the check found.

    Args:
        findings: what is wrong on the face of it. notes: what nobody can prove, for whoever signs.
    """

    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    proofs: tuple[JunctionProof, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the site may be signed."""
        return not self.findings and all(proof.holds for proof in self.proofs)

    @property
    def is_seconded(self) -> bool:
        """Whether the solver has spoken on every junction."""
        return all(proof.opinion.answer in {Answer.SAFE, Answer.UNSAFE} for proof in self.proofs)

    def digest(self) -> bytes:
        """SHA-256 of what was found, without times: the same for everybody who checks the same facts."""
        facts = [
            (proof.junction, proof.method, proof.step_ms, proof.stages, proof.states, proof.transitions, proof.wait_ms)
            for proof in self.proofs
        ]
        answers = [
            (proof.samples, proof.breach.text if proof.breach else "", proof.opinion.answer, proof.disagreement)
            for proof in self.proofs
        ]
        document = [[str(each) for each in self.findings], [str(each) for each in self.notes], facts, answers]
        return sha256(json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()).digest()


JunctionProver = Callable[[Junction], JunctionProof]


def report_on(cabinet: Cabinet, prover: JunctionProver) -> Report:
    """Check a cabinet.

    Args:
        prover: ``prove``, or one that also shows progress and takes the time.
    """
    junctions = [each for each in cabinet.site.equipment.values() if isinstance(each, Junction)]
    return Report(findings_of(cabinet), tuple(notes_of(cabinet)), tuple(prover(each) for each in junctions))


def prove(
    junction: Junction,
    progress: Progress = lambda _states: None,
    states_max: int = STATES_MAX,
    samples: int = SAMPLES,
) -> JunctionProof:
    """Search every state of a junction, ask the solver, and hold the observer against both.

    Args:
        states_max: a junction with more is proven pair by pair. samples: how much the observer is shown.
    """
    step_ms = step_ms_of(junction)
    if step_ms < STEP_MS_MIN or not _is_searchable(junction):
        return JunctionProof(junction.id, "none", step_ms, len(junction.stages))
    stages = stages_of(junction)
    opinion = second_opinion(junction)
    proof = _whole(junction, stages, step_ms, progress, states_max, samples) if stages.are_all else None
    proof = proof or _pairs(junction, stages, step_ms, progress, states_max)
    proof = replace(proof, opinion=opinion)
    return replace(proof, disagreement=proof.disagreement or _disagreement(proof))


def _is_searchable(junction: Junction) -> bool:
    """Whether the facts name only what is there; what is wrong with them is among the findings."""
    numbers = {group.number for group in junction.groups}
    named = set().union(*junction.conflicts, *junction.stages, *junction.intergreen_ms)
    return named <= numbers and bool(numbers)


def _whole(
    junction: Junction, stages: Stages, step_ms: int, progress: Progress, states_max: int, samples: int
) -> JunctionProof | None:
    """Search the junction as a whole; None if it has too many states."""
    controller = Controller(junction, step_ms)
    searched = search(controller, Auditor(junction, step_ms), stages, progress, states_max)
    if not searched.is_whole:
        return None
    proof = JunctionProof(junction.id, "whole", step_ms, len(stages.masks), searched.count, searched.transitions)
    if searched.breach is not None:
        trace = trace_of(junction, controller, searched.trace, searched.breach.text)
        return replace(proof, breach=searched.breach, trace=trace)
    proof = _answered(junction, searched, stages, proof)
    seen = watched(junction, searched, stages, samples)
    if seen.trips:
        reason = f"the observer says of lawful signals: {seen.trips[0].rule}: {seen.trips[0].reason}"
        return replace(proof, disagreement=reason, trace=trace_of(junction, controller, seen.trace, reason))
    return replace(proof, samples=seen.samples)


def _answered(junction: Junction, searched: Searched, stages: Stages, proof: JunctionProof) -> JunctionProof:
    """P5, on what the search has reached."""
    response = slowest(searched, stages)
    wait_ms = response.steps * proof.step_ms
    if response.steps != NEVER and wait_ms <= WAIT_MS_MAX:
        return replace(proof, wait_ms=wait_ms)
    groups = tuple(junction.groups[n].number for n in places(stages.masks[response.stage]))
    how = "never shown" if response.steps == NEVER else f"shown after {wait_ms / 1000:g} s"
    text = f"stage {list(groups)} is {how} when it is asked for, at most {WAIT_MS_MAX // 1000} s are due"
    trace = trace_of(junction, searched.controller, walk(searched, stages, response), text)
    return replace(proof, breach=Breach("P5", groups, text), trace=trace)


def _pairs(junction: Junction, stages: Stages, step_ms: int, progress: Progress, states_max: int) -> JunctionProof:
    """Search every conflicting pair by itself, and every group that conflicts with none."""
    proof = JunctionProof(junction.id, "pairs", step_ms, len(stages.masks))
    alone = [frozenset((group.number,)) for group in junction.groups]
    parts = sorted(junction.conflicts, key=sorted) + [
        each for each in alone if not any(each < pair for pair in junction.conflicts)
    ]
    for part in parts:
        piece = _piece(junction, part)
        controller = Controller(piece, step_ms)
        asked = Stages((0, *(1 << n for n in range(len(piece.groups)))), are_written=False, are_all=True)
        searched = search(controller, Auditor(piece, step_ms), asked, progress, states_max)
        proof = replace(
            proof, states=proof.states + searched.count, transitions=proof.transitions + searched.transitions
        )
        if searched.breach is not None:
            trace = trace_of(piece, controller, searched.trace, searched.breach.text)
            return replace(proof, breach=searched.breach, trace=trace)
        if not searched.is_whole:
            return replace(proof, method="none")
    return replace(proof, wait_ms=_wait_by_sum_ms(junction, step_ms))


def _piece(junction: Junction, part: frozenset[int]) -> Junction:
    return replace(
        junction,
        groups=tuple(group for group in junction.groups if group.number in part),
        conflicts=frozenset(pair for pair in junction.conflicts if pair <= part),
        intergreen_ms={pair: least for pair, least in junction.intergreen_ms.items() if part >= set(pair)},
        stages=(),
    )


def _wait_by_sum_ms(junction: Junction, step_ms: int) -> int | None:
    """A bound for P5 without a search: start-up, the longest green still to run, the longest intergreen.

    It counts only for stages without conflicts (a finding otherwise), and only if it is short enough.
    """
    start_up_ms = max(3_000, *(group.yellow_ms_min for group in junction.groups)) + 2_000
    green_ms = max(group.green_ms_min for group in junction.groups)
    sum_ms = start_up_ms + green_ms + max([0, *junction.intergreen_ms.values()]) + 3 * step_ms
    return sum_ms if sum_ms <= WAIT_MS_MAX else None


def _disagreement(proof: JunctionProof) -> str:
    """Search and solver answer the same question on intergreens: a different answer is a fault of ours."""
    if proof.method == "none" or proof.opinion.answer not in {Answer.SAFE, Answer.UNSAFE}:
        return ""
    found = proof.breach is not None and proof.breach.property in INTERGREEN_PROPERTIES
    if found and proof.opinion.answer is Answer.SAFE:
        return f"the search found {proof.breach.property if proof.breach else ''}, and z3 says there is no such trace"
    if proof.breach is None and proof.opinion.answer is Answer.UNSAFE:
        return "these stages never show it, and z3 found times that keep every number and are unsafe"
    return ""
