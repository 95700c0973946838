"""The manager's log in its database: the same tree as a list of everything, whatever is rolled back or restarted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from agent.wire.merkle import consistency_proof, inclusion_proof, is_consistent, is_included, leaf_hash
from fleet import merkle_log, schema
from fleet.engine import open_database
from fleet.merkle_log import TILE, MerkleLog, StoredTree, load_log
from tests.wire.test_merkle import naive_root


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_database(tmp_path / "fleet.db")
    yield made
    made.dispose()


def entry(n: int) -> bytes:
    return f"entry {n}".encode()


def grown(engine: Engine, *counts: int) -> MerkleLog:
    """A log that grew in transactions of these sizes."""
    log = MerkleLog()
    for count in counts:
        with engine.begin() as connection:
            for _ in range(count):
                log.append(entry(log.size), log.size + 1)
            log.write(connection)
        log.committed()
    return log


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 700])
def test_root_and_stored_tree_are_those_of_all_entries(engine: Engine, size: int) -> None:
    log = grown(engine, size // 3, size - size // 3)
    entries = [entry(n) for n in range(size)]
    assert log.root() == naive_root(entries)
    with engine.connect() as connection:
        tree = StoredTree(connection)
        assert tree.size == size
        for part in {0, 1, size // 2, size - 1, size} & set(range(size + 1)):
            assert tree.root(part) == naive_root(entries[:part])
        tiles = connection.execute(select(func.count()).select_from(schema.log_tiles)).scalar()
        assert tiles == size // TILE


def test_a_log_of_tiles_of_tiles_gives_good_proofs_for_any_place(engine: Engine) -> None:
    size = TILE * TILE + 300
    log = grown(engine, 70, size - 70)
    with engine.connect() as connection:
        tree = StoredTree(connection)
        root = tree.root(size)
        assert root == log.root()
        for place in (0, 255, 256, TILE * TILE - 1, TILE * TILE, size - 1):
            proof = inclusion_proof(place, size, tree.node)
            assert is_included(leaf_hash(entry(place)), place, size, proof, root)
        for old in (1, 70, 256, TILE * TILE, size - 1):
            assert is_consistent(old, tree.root(old), size, root, consistency_proof(old, size, tree.node))
        loaded = load_log(connection)
    assert (loaded.size, loaded.root()) == (size, root)


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["commit", "roll back", "restart"])), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_memory_never_differs_from_disk(tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, str]]) -> None:
    engine = open_database(tmp_path_factory.mktemp("log") / "fleet.db")
    log, kept = MerkleLog(), list[bytes]()
    for turn, (count, ending) in enumerate(turns):
        added = [f"{turn}/{n}".encode() for n in range(count)]
        for each in added:
            log.append(each, 1)
        if ending == "roll back":
            log.rolled_back()
        else:
            with engine.begin() as connection:
                log.write(connection)
            log.committed()
            kept += added
        if ending == "restart":
            with engine.connect() as connection:
                log = load_log(connection)
        assert (log.size, log.root()) == (len(kept), naive_root(kept))
    with engine.connect() as connection:
        assert [data for _, _, data in merkle_log.entries_from(connection)] == kept
    engine.dispose()


def test_what_was_written_into_a_transaction_that_failed_is_forgotten(engine: Engine) -> None:
    log = grown(engine, 250)
    root = log.root()
    with engine.connect() as connection:
        for n in range(20):
            log.append(f"lost {n}".encode(), 1)
        log.write(connection)
        connection.rollback()
    log.rolled_back()
    assert (log.size, log.root()) == (250, root)
    with engine.connect() as connection:
        assert StoredTree(connection).root(250) == root


def test_the_place_of_a_link_is_found_among_entries_of_other_kinds(engine: Engine) -> None:
    log = MerkleLog()
    with engine.begin() as connection:
        for link_no, subject in ((1, None), (1, "c1"), (1, "c1"), (2, None), (5, None), (5, "c2")):
            log.append(entry(log.size), link_no, subject)
        log.write(connection)
        assert [merkle_log.place_of_link(connection, n) for n in (1, 2, 5)] == [0, 3, 4]
        assert [merkle_log.place_of_link(connection, n) for n in (0, 3, 6)] == [None] * 3
        assert merkle_log.places_of(connection, "c1") == [1, 2]
        assert merkle_log.places_of(connection, "c9") == []
