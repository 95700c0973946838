"""The synchronisation as a whole, in virtual time; ``make sim SEED=n`` replays one run."""

from pathlib import Path

import pytest

from tests.sync_simulation import run, simulate

SEEDS, AT_ONCE = 500, 25
CHUNKS = [1, *(pytest.param(first, marks=pytest.mark.no_cover) for first in range(1 + AT_ONCE, SEEDS, AT_ONCE))]


@pytest.mark.slow
@pytest.mark.parametrize("first", CHUNKS)
def test_everything_arrives_once_and_in_order_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        run(seed)


def test_one_seed_always_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        world = simulate(5, tmp_path / name, 8_000)
        runs.append((world.store.heads, world.executed, len(world.heard)))
    assert runs[0] == runs[1]
