"""What a failing disk does to the ledger: an error of its own, memory as the disk is, and on it goes once it is back."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.ledger.errors import LedgerError
from agent.ledger.ledger import Ledger
from agent.model.identity import EquipmentId
from agent.safety.latch import Latch
from agent.wire.messages import StreamHead
from agent.wire.receiving import Inbound
from tests.ledger.disk import failing
from tests.ledger.test_ledger import STREAMS, drain, event, samples
from tests.wire.party import CITY, GATEWAY, T0_MS, HandClock, signer

LATCH = Latch(EquipmentId("j1"), "SR-02", "two greens", T0_MS, flash_requested=True)
CALLS: list[Callable[[Ledger], object]] = [
    lambda ledger: ledger.append_samples("tele", samples(3)),
    lambda ledger: ledger.append_events("alarm", [event("x")]),
    lambda ledger: ledger.floor("alarm"),
    lambda ledger: ledger.sealed_after("alarm", ledger.head("alarm").epoch, 0, 9),
    lambda ledger: ledger.page("alarm", (0, 0), 9),
    lambda ledger: ledger.hash_at("alarm", ledger.head("alarm").epoch, 99),
    lambda ledger: ledger.acknowledged(StreamHead("alarm", ledger.head("alarm").epoch, 1, ledger.head("alarm").hash)),
    lambda ledger: ledger.acknowledged(StreamHead("alarm", ledger.head("alarm").epoch, 99, bytes(32))),
    lambda ledger: ledger.regressed("alarm", 0),
    lambda ledger: ledger.raise_epoch("tele", 0, "asked for"),
    lambda ledger: ledger.raise_floor(5),
    lambda ledger: ledger.floor_ms,
    lambda ledger: ledger.counters,
    lambda ledger: ledger.raise_counter("alice/1", 7),
    lambda ledger: ledger.latches(),
    lambda ledger: ledger.set_latch(LATCH),
    lambda ledger: ledger.clear_latch(EquipmentId("j1")),
    lambda ledger: ledger.next_number("conn"),
    lambda ledger: ledger.log("", 9),
]


class Failing:
    """A connection whose statements fail from the given one on, and so does undoing them."""

    def __init__(self, database: sqlite3.Connection, after: int, *, undoes: bool) -> None:
        self._database = database
        self._left = after
        self._undoes = undoes

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        self._left -= 1
        if self._left < 0 and not (self._undoes and statement.startswith(("ROLLBACK", "RELEASE"))):
            raise sqlite3.OperationalError("disk I/O error")
        return self._database.execute(statement, *arguments)

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction


def open_ledger(path: Path) -> Ledger:
    return Ledger(path, signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, STREAMS, HandClock())


@pytest.mark.parametrize("undoes", [True, False])
@pytest.mark.parametrize("call", range(len(CALLS)))
def test_only_ledger_errors_leave_it_and_nothing_is_half_stored(tmp_path: Path, call: int, *, undoes: bool) -> None:
    ledger = open_ledger(tmp_path / "a.db")
    ledger.append_events("alarm", [event("before")])
    ledger.append_samples("tele", samples(3))
    database = ledger._database
    for after in range(40):  # More statements than any of the calls has.
        stands = {stream: (ledger.head(stream), ledger.acked(stream)) for stream in STREAMS}
        ledger._database = Failing(database, after, undoes=undoes)  # type: ignore[assignment]
        try:
            CALLS[call](ledger)
        except LedgerError:
            assert stands == {stream: (ledger.head(stream), ledger.acked(stream)) for stream in STREAMS}
        else:
            break
        finally:
            ledger._database = database
        ledger.append_events("audit", [event("the disk is back")])
    else:
        pytest.fail("it never came to an end")
    assert after > 0
    heads = [ledger.head(stream) for stream in STREAMS]
    ledger.close()
    ledger = open_ledger(tmp_path / "a.db")
    assert ledger.damage is None
    assert heads == [ledger.head(stream) for stream in STREAMS]
    assert len(drain(ledger, "audit", Inbound())) == ledger.head("audit").seq
    ledger.close()


def test_a_part_that_could_not_be_undone_takes_the_whole_with_it(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "a.db")
    database = ledger._database

    def partly() -> None:
        with ledger.atomic():
            ledger.append_samples("tele", samples(1))
            ledger._database = Failing(database, 2, undoes=False)  # type: ignore[assignment]
            with pytest.raises(LedgerError):
                ledger.append_samples("tele", samples(1))
            ledger._database = database
            assert not ledger.in_transaction
            ledger.append_samples("tele", samples(1))

    with pytest.raises(LedgerError, match="given up"):
        partly()
    assert ledger.head("tele").seq == 0
    assert ledger.append_samples("tele", samples(1)).seq == 1
    ledger.close()
    ledger = open_ledger(tmp_path / "a.db")
    assert (ledger.damage, ledger.head("tele").seq) == (None, 1)
    ledger.close()


def test_a_disk_that_answers_nothing_at_all_is_a_ledger_error_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ledger = open_ledger(path)
    before = ledger.append_events("alarm", [event("one")])
    with failing(path):
        for _ in range(3):
            with pytest.raises(LedgerError, match="disk I/O error"):
                ledger.append_events("alarm", [event("lost")])
    assert ledger.append_events("alarm", [event("two")]).seq == before.seq + 1
    ledger.close()
    ledger = open_ledger(path)
    assert ledger.damage is None
    assert [entry.text for entry in ledger.log("", 9)] == ["one", "two"]
    ledger.close()
