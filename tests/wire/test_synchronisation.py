"""The synchronisation as a whole, in virtual time; ``make sim SEED=n`` replays one run."""

from pathlib import Path

import pytest

from tests.sync_simulation import run, simulate


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 501, 25))
def test_everything_arrives_once_and_in_order_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + 25):
        run(seed)


def test_one_seed_always_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        world = simulate(5, tmp_path / name, 8_000)
        runs.append((world.store.heads, world.executed, len(world.heard)))
    assert runs[0] == runs[1]
