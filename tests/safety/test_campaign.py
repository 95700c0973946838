"""A hundred thousand adversarial cases: a command is approved exactly when it breaks none of the page's promises.

``make campaign`` runs ten million; the promises are in ``tests/proof/promises.py``, written from the page.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.safety import kernel
from tests.proof.campaign import Tally, run_chunk
from tests.proof.thinned import Key, left_out, rules_of
from tests.tree import ROOT

CASES = int(os.environ.get("CAMPAIGN_CASES", "100000"))
CHUNK_CASES = 10_000
SEED = 1
REFUSED = re.compile(r"Refused\(\s*\"((?:SR|LR)-\d+)\"")
LIMIT = re.compile(r"Limit\(\"(SR-\d+)\"")
ELSEWHERE = {"LR-07"}
"""Refused by other doors than ``judge``."""


@pytest.mark.no_cover
def test_a_hundred_thousand_adversarial_cases_are_approved_exactly_when_no_promise_breaks() -> None:
    total = Tally()
    for chunk in range(max(1, CASES // CHUNK_CASES)):
        total.add(run_chunk(SEED, chunk, min(CASES, CHUNK_CASES)))
        assert total.faults == []
    if CASES < 100_000:
        return
    assert min(total.approved.values()) > 500, total.approved
    assert len(total.approved) == len({command for command, _ in kernel.RULES})
    assert min(total.refused.values()) > 50, total.refused
    assert set(total.refused) >= refusable() - ELSEWHERE


def refusable() -> set[str]:
    """Every rule the kernel's source refuses by."""
    sources = [path.read_text(encoding="utf-8") for path in Path(ROOT / "agent/safety").glob("*.py")]
    return {rule for source in sources for pattern in (REFUSED, LIMIT) for rule in pattern.findall(source)}


def test_a_chunk_is_the_same_whenever_it_runs() -> None:
    first, other, again = (run_chunk(SEED, chunk, 500) for chunk in (3, 4, 3))
    assert (first.approved, first.refused) == (again.approved, again.refused)
    assert (first.approved, first.refused) != (other.approved, other.refused)


def each_rule() -> Iterator[tuple[Key, str]]:
    for key in kernel.RULES:
        yield from ((key, rule.__name__) for rule in rules_of(key))


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("key", "name"), [pytest.param(*each, id=f"{each[0][0].__name__}-{each[1]}") for each in each_rule()]
)
def test_the_campaign_finds_any_rule_that_is_missing(key: Key, name: str) -> None:
    with left_out(frozenset({name}), frozenset({key})):
        found = next((tally for chunk in range(30) if (tally := run_chunk(SEED, chunk, 10_000)).faults), None)
    assert found is not None, f"nobody misses {name}"
    assert f"seed {SEED}" in found.faults[0]
