"""A short storm over a city of real parts. ``make chaos SEED=n ARGS="--minutes 10"`` for a long one."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import oracle
from tests.chaos.kept import Kept
from tests.chaos.oracle import Command
from tests.chaos.storm import KINDS, LINES, PROGRAMS, draw
from tests.chaos.trial import run

SEED, STORM_S = 2481, 16.0
"""A seed whose storm kills agent, guard, broker and manager, freezes, resets, silences, slows down and fills a disk."""
RESUMED_S_MAX = 30.0
Require = Callable[[str], Path]


@pytest.mark.hil
@pytest.mark.slow
async def test_a_storm_of_kills_freezes_and_bad_lines_loses_repeats_and_hides_nothing(require_program: Require) -> None:
    outcome = await run(SEED, STORM_S, require_program("mosquitto"), is_short=True)
    print(outcome)
    assert outcome.tally.links > 30
    assert outcome.tally.shown > 20
    assert outcome.tally.statuses["done"] > 0
    assert (outcome.tally.lost, outcome.tally.duplicated) == (0, 0)
    assert outcome.resumed_s < RESUMED_S_MAX


def test_the_tests_storm_has_every_kind_of_fault_that_matters() -> None:
    faults = draw(SEED, STORM_S)
    killed = {fault.target.split()[0].split("-")[0] for fault in faults if fault.kind == "kill"}
    assert killed >= {"agent", "guard", "room", "fleet"}, faults
    assert {fault.kind for fault in faults} >= {"freeze", "reset", "silence", "slow", "full"}, faults


def test_a_seed_always_gives_the_same_storm_and_all_of_it_is_put_right_in_time() -> None:
    for seed in range(200):
        seconds = random.Random(seed).uniform(6, 600)
        faults = draw(seed, seconds)
        assert faults == draw(seed, seconds) != draw(seed + 1, seconds)
        assert {fault.kind for fault in faults} <= set(KINDS)
        assert {fault.target for fault in faults} <= {*PROGRAMS, *LINES, "room"}
        assert all(fault.at_s > 0 and fault.at_s + fault.lasts_s <= seconds + 1e-6 for fault in faults)


async def test_a_process_killed_while_frozen_was_frozen_to_its_end(tmp_path: Path) -> None:
    sleeper = Kept("sleeper", ("sleep", "100"), tmp_path / "log")
    sleeper.start()
    life = sleeper.freeze()
    assert life is not None
    assert sleeper.kill()
    sleeper.thaw(life)
    assert life.frozen == [(life.frozen[0][0], life.ended_s)]
    assert not sleeper.deaths


COMMAND = Command("c1", "gw-darcy", "seg-darcy-1", "set-level", {"level_percent": 60}, "done", "", 0, 20_000, 500)


@pytest.mark.parametrize(
    ("status", "runs", "words"),
    [
        ("done", [], "never reached the lamps"),
        ("refused", [(100, "seg-darcy-1", 60)], "carried out all the same"),
        ("unknown", [(100, "seg-darcy-1", 60), (900, "seg-darcy-1", 60)], "carried out 2 times"),
        ("unknown", [(30_000, "seg-darcy-1", 60)], "too late"),
    ],
)
def test_the_oracle_notices_a_lie_about_a_command(status: str, runs: list[tuple[int, str, int]], words: str) -> None:
    changed = Command(**{name: getattr(COMMAND, name) for name in Command.__slots__} | {"status": status})
    with pytest.raises(AssertionError, match=words):
        oracle._check_level(changed, runs)
