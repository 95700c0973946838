"""What a check of commissioning found, as lines for a person and as a document for a program."""

from collections.abc import Iterator, Mapping

from agent.cli import document
from agent.cli.words import clean, sentence
from agent.commission.proof import PROPERTIES, JunctionProof, Report
from agent.commission.response import WAIT_MS_MAX
from agent.commission.second_opinion import Answer
from agent.commission.trace import Trace
from agent.model.equipment import Bollard, Junction, Segment
from agent.model.site import Cabinet

_METHODS = {
    "whole": "every reachable state was explored",
    "pairs": "too many states to explore at once: every conflicting pair of groups was explored by itself",
    "none": "nothing was explored",
}


def lines(site: str, cabinet: Cabinet, report: Report, seconds: Mapping[str, float]) -> Iterator[str]:
    """Everything, the worst at the end, where it is read."""
    yield f"{clean(site)}: {clean(cabinet.site.gateway)}, {sentence(cabinet.site.name)}"
    for proof in report.proofs:
        yield from _proof(cabinet, proof, seconds.get(proof.junction, 0.0))
    yield from _others(cabinet)
    for note in report.notes:
        yield f"note: {clean(str(note))}"
    for finding in report.findings:
        yield f"wrong: {clean(str(finding))}"
    if report.is_clean and not report.is_seconded:
        yield "warning: no second opinion was given"
    yield "The site may be signed." if report.is_clean else "The site must not be signed: correct what is told above."


def proved(report: Report) -> str:
    """One line for the signature and for the guard's records."""
    if not report.proofs:
        return "no junction; floors in range"
    states = sum(proof.states for proof in report.proofs)
    transitions = sum(proof.transitions for proof in report.proofs)
    opinion = "seconded by z3" if report.is_seconded else "no second opinion"
    junctions = f"{len(report.proofs)} junction{'s' if len(report.proofs) > 1 else ''}"
    return f"{junctions}, {states:,} states, {transitions:,} transitions, P1 to P6 hold, {opinion}"


def _proof(cabinet: Cabinet, proof: JunctionProof, seconds: float) -> Iterator[str]:
    junction = cabinet.site.equipment[proof.junction]
    assert isinstance(junction, Junction)
    verdict = "proven" if proof.holds else "NOT PROVEN"
    yield f"junction {clean(proof.junction)}, {clean(junction.name)}: {verdict}"
    stages = f"{proof.stages} stages{'' if junction.stages else ', the largest sets the matrix allows'}"
    yield f"  {len(junction.groups)} groups, {len(junction.conflicts)} conflicts, {stages}, in steps of {proof.step_ms / 1000:g} s"
    is_cut = proof.breach is not None and proof.breach.property != "P5"
    method = "the search ended at the first thing that is broken" if is_cut else _METHODS[proof.method]
    yield f"  {method}: {proof.states:,} states, {proof.transitions:,} transitions, {seconds:.1f} s"
    if proof.breach is not None:
        yield f"  {proof.breach.property} is broken: {proof.breach.text}"
    elif proof.method != "none":
        yield from (f"  {text}{_wait(proof) if text.startswith('P5') else ''}" for text in PROPERTIES)
    if proof.samples:
        yield f"  the observer was silent over {proof.samples:,} samples of lawful signals"
    yield f"  second opinion: {clean(proof.opinion.text) or 'not asked'}"
    if proof.disagreement:
        yield f"  the checks disagree: {clean(proof.disagreement)}"
    for trace in (proof.trace, proof.opinion.trace):
        if trace is not None:
            yield from (f"  {clean(line)}" for line in trace.lines())


def _wait(proof: JunctionProof) -> str:
    if proof.wait_ms is None:
        return ": not decided, for a junction of this size"
    how = "at most" if proof.method == "pairs" else "the slowest after"
    return f": {how} {proof.wait_ms / 1000:g} s"


def _others(cabinet: Cabinet) -> Iterator[str]:
    everything = cabinet.site.equipment.values()
    bollards = [each for each in everything if isinstance(each, Bollard)]
    segments = [each for each in everything if isinstance(each, Segment)]
    if bollards:
        least_s = min(each.loops_free_ms_min for each in bollards) / 1000
        yield f"bollards: {len(bollards)}, loops free for {least_s:g} s at least"
    if segments:
        yield f"lighting segments: {len(segments)}, floors from {min(each.level_floor_percent for each in segments)} %"


def as_document(site: str, cabinet: Cabinet, report: Report, seconds: Mapping[str, float]) -> dict[str, document.Json]:
    """The same for a program."""
    return {
        "site": site,
        "gateway": cabinet.site.gateway,
        "clean": report.is_clean,
        "seconded": report.is_seconded,
        "report_sha256": report.digest().hex(),
        "findings": [{"place": each.place, "text": each.text} for each in report.findings],
        "notes": [{"place": each.place, "text": each.text} for each in report.notes],
        "junctions": [_junction(proof, seconds.get(proof.junction, 0.0)) for proof in report.proofs],
    }


def _junction(proof: JunctionProof, seconds: float) -> document.Json:
    breach: document.Json = None
    if proof.breach is not None:
        breach = {"property": proof.breach.property, "groups": list(proof.breach.groups), "text": proof.breach.text}
    return {
        "id": proof.junction,
        "holds": proof.holds,
        "method": proof.method,
        "step_ms": proof.step_ms,
        "stages": proof.stages,
        "states": proof.states,
        "transitions": proof.transitions,
        "seconds": round(seconds, 3),
        "wait_ms": proof.wait_ms,
        "wait_ms_max": WAIT_MS_MAX,
        "samples": proof.samples,
        "breach": breach,
        "trace": _trace(proof.trace),
        "second_opinion": None if proof.opinion.answer is Answer.NOT_ASKED else proof.opinion.answer.value,
        "second_trace": _trace(proof.opinion.trace),
        "disagreement": proof.disagreement or None,
    }


def _trace(trace: Trace | None) -> document.Json:
    if trace is None:
        return None
    return {
        "step_ms": trace.step_ms,
        "from_ms": trace.from_ms,
        "groups": [{"number": row.number, "name": row.name, "aspects": row.aspects} for row in trace.rows],
        "notes": [{"at_ms": at_ms, "text": text} for at_ms, text in trace.notes],
    }
