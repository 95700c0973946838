"""A ledger no process has open: read as it is, and never in anybody's way."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.ledger.at_rest import LedgerAtRest
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.ledger.ledger import Ledger
from agent.process.clock import Clock
from agent.wire.keyfile import Signer
from agent.wire.messages import Event

RECORDS = 100
WRITER = """
import os, sys
from pathlib import Path
from tests.ledger.test_at_rest import opened, RECORDS
from agent.wire.messages import Event
ledger = opened(Path(sys.argv[1]))
for number in range(RECORDS):
    ledger.append_events("safety", [Event(0, "trip", f"e-{number % 2}", "", str(number), {})])
os.kill(os.getpid(), 9)
"""


def opened(path: Path) -> Ledger:
    return Ledger(path, Signer.from_seed("k", bytes(32)), "city", "gw", ("safety",), Clock())


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The database of a process that was killed: much of it is in its write-ahead log only."""
    path = tmp_path / "guard.db"
    ended = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert path.with_name("guard.db-wal").stat().st_size > 0
    return path


def test_what_a_killed_process_had_stored_is_read_and_nothing_is_written(killed: Path) -> None:
    before = [killed.read_bytes(), killed.with_name("guard.db-wal").read_bytes()]
    rest = LedgerAtRest(killed)
    seen, after = 0, (0, 0)
    while rows := rest.page("safety", after, 7).rows:
        seen, after = seen + len(rows), rows[-1][:2]
    assert seen == RECORDS
    assert [each.text for each in rest.log("safety", "e-1", 0, 2)] == ["97", "99"]
    assert rest.log("safety", "e-1", 2**62, 2) == []
    assert rest.log("alarm", "", 0, 2) == []
    assert [killed.read_bytes(), killed.with_name("guard.db-wal").read_bytes()] == before


def test_a_reader_never_keeps_the_process_from_starting(killed: Path) -> None:
    rest, stop, reads, errors = LedgerAtRest(killed), threading.Event(), [0], list[Exception]()

    def read() -> None:
        while not stop.is_set():
            try:
                rest.page("safety", (0, 0), 64)
                reads[0] += 1
            except LedgerBusyError:
                pass
            except LedgerError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(5):
            ledger = opened(killed)
            ledger.append_events("safety", [Event(0, "start", "", "", str(number), {})])
            ledger.close()
    finally:
        stop.set()
        reader.join()
    assert reads[0] > 0
    assert errors == []
    assert rest.page("safety", (0, 0), 1).newest.seq == RECORDS + 5


def test_a_process_that_has_it_open_is_to_be_asked_itself(killed: Path) -> None:
    ledger = opened(killed)
    try:
        with pytest.raises(LedgerBusyError):
            LedgerAtRest(killed).page("safety", (0, 0), 64)
    finally:
        ledger.close()


def test_what_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"garbage" * 1000)
    for name in ("none.db", "x.db", "."):
        with pytest.raises(LedgerError):
            LedgerAtRest(tmp_path / name).log("safety", "", 0, 10)
