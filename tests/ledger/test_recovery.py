"""A torn ledger: what verifies is taken over, the old file stays, and the fleet can see the break."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerError
from agent.ledger.ledger import Ledger
from agent.ledger.recovery import ALL_EQUIPMENT
from agent.model.identity import EquipmentId
from agent.safety.latch import Latch
from agent.wire.receiving import Inbound
from tests.ledger.test_ledger import STREAMS, drain, event, samples
from tests.wire.party import CITY, GATEWAY, T0_MS, HandClock, signer

LATCH = Latch(EquipmentId("j1"), "SR-02", "two greens", T0_MS, flash_requested=True)


def open_at(path: Path, **kwargs: object) -> Ledger:
    return Ledger(path, signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, STREAMS, HandClock(), **kwargs)  # type: ignore[arg-type]


def filled(path: Path, links: int = 40) -> Ledger:
    ledger = open_at(path)
    for n in range(links):
        ledger.append_samples("state", samples(20, 20 * n))
        ledger.append_events("alarm", [event(f"event {n}")])
    ledger.raise_counter("alice/1", 9)
    ledger.set_latch(LATCH)
    ledger.next_number("conn")
    return ledger


def tamper(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


def test_one_damaged_link_costs_one_link(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    ledger = filled(path)
    old = ledger.head("state")
    ledger.close()
    tamper(path, "UPDATE links SET sealed=zeroblob(300) WHERE stream='state' AND seq=7")
    ledger = open_at(path)
    assert ledger.damage is not None
    assert ledger.damage.are_latches_known
    assert (ledger.damage.links, ledger.damage.links_lost) == (79, 1)
    assert ledger.damage.aside.exists()
    assert ledger.head("state").epoch > old.epoch
    assert ledger.latches() == {"j1": LATCH}
    assert ledger.counters == {"alice/1": 9}
    assert ledger.next_number("conn") == 2
    first, *rest = drain(ledger, "state", Inbound())
    assert first.events[0].kind == "stream.epoch"
    values = [value for batch in rest for value in batch.values]
    assert values == [n for n in range(800) if not 120 <= n < 140]
    assert ledger.log("", 1)[0].kind == "ledger.damaged"
    ledger.close()
    assert open_at(path).damage is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM links WHERE stream='state' AND seq=40",
        "DELETE FROM links WHERE stream='state' AND seq=20",
        "DELETE FROM links WHERE stream='state'",
        "UPDATE streams SET seq=seq+1 WHERE stream='state'",
        "UPDATE links SET hash=zeroblob(32) WHERE stream='state' AND seq=3",
        "DROP TABLE latches",
        "DROP TABLE counters",
        "DROP TABLE links",
    ],
)
def test_no_tampering_goes_unnoticed_or_stops_the_start(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "agent.db"
    filled(path).close()
    tamper(path, statement)
    ledger = open_at(path)
    assert ledger.damage is not None
    assert ledger.damage.are_latches_known == ("latches" not in statement)
    assert ledger.damage.are_counters_known == ("counters" not in statement)
    assert ledger.append_samples("state", samples(1)).seq > 0
    assert (ledger.latches() == {"j1": LATCH}) == ("latches" not in statement)
    ledger.raise_counter("alice/1", 10)
    ledger.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_file_torn_anywhere_still_starts(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = tmp_path / "agent.db"
    filled(path, 15).close()
    data = bytearray(path.read_bytes())
    match seed % 3:
        case 0:
            del data[dice.randrange(len(data)) :]
        case 1:
            start = dice.randrange(len(data))
            data[start : start + 4096] = dice.randbytes(min(4096, len(data) - start))
        case _:
            for _ in range(20):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    ledger = open_at(path)
    for stream in STREAMS:
        ledger.append_samples(stream, samples(3))
        drain(ledger, stream, Inbound())
    ledger.raise_counter("alice/1", 10)
    assert ledger.counters["alice/1"] == 10
    ledger.close()


def test_garbage_instead_of_a_database_is_set_aside_and_latches_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"nothing of ours" * 1000)
    ledger = open_at(path)
    assert ledger.damage is not None
    assert not ledger.damage.are_latches_known
    assert ledger.damage.links_lost == -1
    assert ledger.damage.aside.read_bytes().startswith(b"nothing of ours")


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    for _n in range(6):
        path.write_bytes(b"nothing of ours" * 1000)
        open_at(path).close()
    assert len([each for each in tmp_path.iterdir() if "damaged" in each.name and not each.name.endswith("-wal")]) == 3


def test_another_layout_is_refused_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    filled(path, 1).close()
    tamper(path, "PRAGMA user_version=99")
    with pytest.raises(LedgerError, match="another version"):
        open_at(path)


def counted(steps: int) -> Callable[[object, str, object], None]:
    """A profiler that kills the process at a certain call into or out of the ledger's code."""
    left = steps

    def step(frame: object, _event: str, _argument: object) -> None:
        nonlocal left
        if "/agent/ledger/" in str(getattr(getattr(frame, "f_code", None), "co_filename", "")):
            left -= 1
            if left < 0:
                os._exit(9)

    return step


def die_while_opening(path: Path, steps: int) -> bool:
    """Open the ledger in a child that is killed after so many steps; return whether it was."""
    child = os.fork()
    if child == 0:
        try:
            sys.setprofile(counted(steps))
            open_at(path)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("are_latches_readable", [True, False])
def test_a_kill_at_any_moment_of_the_repair_loses_neither_latches_nor_the_doubt_about_them(
    tmp_path: Path, are_latches_readable: bool
) -> None:
    source = tmp_path / "source.db"
    filled(source, 3).close()
    tamper(source, "UPDATE links SET sealed=zeroblob(300) WHERE stream='state' AND seq=2")
    if not are_latches_readable:
        tamper(source, "DROP TABLE latches")
    steps, was_killed = 0, True
    while was_killed:  # Ends when the child lives to the end.
        folder = tmp_path / f"{steps}"
        folder.mkdir()
        path = folder / "agent.db"
        path.write_bytes(source.read_bytes())
        was_killed = die_while_opening(path, steps)
        ledger = open_at(path)
        assert set(ledger.latches()) == ({"j1"} if are_latches_readable else {ALL_EQUIPMENT}), steps
        assert ledger.counters == {"alice/1": 9}, steps
        assert len(list(folder.glob("*.damaged-*"))) >= 1
        assert not list(folder.glob("*.new*")) + list(folder.glob("*.building*"))
        assert [entry.kind for entry in ledger.log("", 1)] == ["ledger.damaged"], steps
        ledger.close()
        shutil.rmtree(folder)
        steps += 1 + steps // 15
    assert steps > 100


def test_an_exchange_cut_off_between_the_two_files_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    filled(path).close()
    path.rename(tmp_path / "agent.db.new")
    (tmp_path / "agent.db.damaged-1").write_bytes(b"the old one")
    (tmp_path / "agent.db-wal").write_bytes(b"its log")
    ledger = open_at(path)
    assert ledger.damage is None
    assert ledger.latches() == {"j1": LATCH}
    assert (tmp_path / "agent.db.damaged-1-wal").read_bytes() == b"its log"


WRITER = """
import sys
from pathlib import Path
from tests.ledger.test_recovery import open_at
from tests.ledger.test_ledger import samples
ledger = open_at(Path(sys.argv[1]))
n = 0
while True:
    head = ledger.append_samples("state", samples(5, 5 * n))
    ledger.raise_counter("alice/1", head.seq)
    n += 1
    print(head.seq, flush=True)
"""


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_said_to_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    expected = 0
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(20 + 13 * round_)]
        writer.kill()
        seen += [int(line) for line in writer.stdout.read().split("\n")[:-1] if line]
        writer.stdout.close()
        writer.wait(10)
        assert seen[0] == expected + 1
        ledger = open_at(path)
        assert ledger.damage is None
        assert ledger.head("state").seq in {seen[-1], seen[-1] + 1}
        assert ledger.counters["alice/1"] >= seen[-1]
        expected = ledger.head("state").seq
        ledger.close()
    assert len(drain(open_at(path), "state", Inbound())) == expected
