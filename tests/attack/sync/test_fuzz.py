"""Mutations of every parser, some thousand here and a million with ``make fuzz``; and the mutations' own honesty."""

import random
from contextlib import ExitStack

import msgspec
import pytest

from agent.wire import envelope
from tests.attack.sync.feeds import command_set, worked
from tests.attack.sync.fuzz import everything, run_chunk
from tests.attack.sync.mutation import bent, respelled, twisted
from tests.attack.sync.targets import Target

RUNS = 10_000


def test_no_mutation_is_believed_crashes_or_takes_long() -> None:
    tally = run_chunk((1, 0), runs=RUNS)
    assert tally.faults == []
    assert sum(tally.runs.values()) == RUNS
    assert set(tally.runs) == {each.name for each in everything()}


def test_a_chunk_is_the_same_for_its_seed() -> None:
    once, again = (run_chunk((7, 3), only="message", runs=300) for _ in range(2))
    assert (once.runs, once.taken) == (again.runs, again.taken)


@pytest.mark.parametrize("target", everything(), ids=lambda target: target.name)
def test_every_seed_is_taken_as_it_is(target: Target) -> None:
    with ExitStack() as stack:
        feed = target.fresh(stack)
        taken = [feed(seed) for seed in target.seeds]
    assert any(taken), "a parser that refuses what it should take shows nothing"


def test_what_is_mutated_often_keeps_its_outline() -> None:
    """Else only the first check of each parser would ever be tried."""
    rng = random.Random(1)
    good = bytes.fromhex(worked()["birth"]["envelope"])
    payload = envelope.parse(good).payload
    lists = sum(isinstance(msgspec.msgpack.decode(twisted(rng, payload)), list) for _ in range(200))
    assert lists > 150
    starts = sum(respelled(rng, command_set()[1])[1:3] == b"\xd2\x84" for _ in range(200))
    assert starts > 60
    assert sum(bent(rng, good) != good for _ in range(200)) > 150
