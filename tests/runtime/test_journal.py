"""The journal: what it answered is on disk, and nobody waits for more than a commit."""

import asyncio
import threading
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerError, UnsealableError
from agent.ledger.ledger import Ledger
from agent.runtime.journal import STREAMS, Journal, JournalEndedError, JournalFullError
from agent.runtime.recorder import Recorder
from agent.wire.messages import StreamHead
from agent.wire.streams import Durable
from tests.ledger.disk import failing
from tests.ledger.test_ledger import event, samples
from tests.waiting import wait_until
from tests.wire.party import CITY, GATEWAY, HandClock, signer


def journal_at(path: Path) -> Journal:
    return Journal(path, signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, HandClock())


async def test_many_callers_share_commits_and_all_is_there_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with journal_at(path) as journal:
        before = journal.commits
        heads = await asyncio.gather(*(journal.append_samples("tele", samples(1, n)) for n in range(400)))
        assert sorted(head.seq for head in heads) == list(range(1, 401))
        assert journal.commits - before < 100
        assert journal.heads["tele"].seq == 400
    async with journal_at(path) as journal:
        assert journal.heads["tele"].seq == 400
        links = await journal.sealed_after("tele", journal.heads["tele"].epoch, 0, 500)
        assert [link.seq for link in links] == list(range(1, 401))


async def test_one_bad_request_fails_alone(tmp_path: Path) -> None:
    async with journal_at(tmp_path / "agent.db") as journal:
        results = await asyncio.gather(
            journal.append_samples("tele", samples(1)),
            journal.append_events("audit", [event("fine"), event("kind", "x" * 99)]),
            journal.append_samples("tele", samples(1)),
            return_exceptions=True,
        )
        assert isinstance(results[1], UnsealableError)
        assert journal.heads["tele"].seq == 2
        assert journal.heads["audit"].seq == 0


async def test_a_full_disk_is_told_and_stores_nothing(tmp_path: Path) -> None:
    async with journal_at(tmp_path / "agent.db") as journal:
        await journal.append_samples("tele", samples(1))
        database = journal._ledger._database
        # The disk is full from now on.
        await journal._ask(lambda ledger: database.execute("PRAGMA max_page_count=1").fetchall())

        async def fill() -> None:
            for n in range(1000):
                await journal.append_samples("tele", samples(500, n))

        with pytest.raises(LedgerError):
            await fill()
        head = journal.heads["tele"]
        await journal._ask(lambda ledger: database.execute("PRAGMA max_page_count=100000").fetchall())
        assert (await journal.append_samples("tele", samples(1))).seq == head.seq + 1
        links = await journal.sealed_after("tele", head.epoch, 0, 5000)
        assert [link.seq for link in links] == list(range(1, head.seq + 2))


async def test_a_disk_that_has_stopped_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.journal.REQUESTS_MAX", 3)
    async with journal_at(tmp_path / "agent.db") as journal:
        reached, go_on = threading.Event(), threading.Event()

        def stop(_ledger: Ledger) -> None:
            reached.set()
            go_on.wait(10)

        stopped = asyncio.ensure_future(journal._ask(stop))
        await asyncio.to_thread(reached.wait, 10)
        waiting = [asyncio.ensure_future(journal.append_samples("tele", samples(1))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(JournalFullError):
            await journal.append_samples("tele", samples(1))
        go_on.set()
        async with asyncio.timeout(10):
            await asyncio.gather(stopped, *waiting)
        assert journal.heads["tele"].seq == 3


async def test_counters_are_on_disk_before_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with journal_at(path) as journal:
        await journal.store_counter("alice/1", 5)
        assert journal.counters == {"alice/1": 5}
    async with journal_at(path) as journal:
        assert journal.counters == {"alice/1": 5}


async def test_listeners_hear_of_every_commit_and_acks_move_the_cursor(tmp_path: Path) -> None:
    async with journal_at(tmp_path / "agent.db") as journal:
        heard = asyncio.Event()
        journal.listen(heard.set)
        head = await journal.append_samples("state", samples(1))
        async with asyncio.timeout(5):
            await heard.wait()
        assert await journal.acknowledged(StreamHead("state", head.epoch, 1, head.hash)) == Durable(1)
        assert journal.acked["state"] == head
        assert await journal.hash_at("state", head.epoch, 1) == head.hash
        assert [floor.seq for floor in await journal.floors()] == [0] * len(STREAMS)


async def test_the_log_is_read_through_the_writer(tmp_path: Path) -> None:
    async with journal_at(tmp_path / "agent.db") as journal:
        await journal.append_events("alarm", [event("one")])
        assert [entry.text for entry in await journal.log("j1", 5)] == ["one"]
        assert await journal.next_number("conn") == 1
        assert await journal.raise_epoch("alarm", 5, "asked for")


async def test_a_ledger_that_cannot_be_opened_is_an_error_on_entering(tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        async with journal_at(tmp_path / "no" / "folder.db"):
            pass


async def test_closing_while_requests_wait_answers_them_first(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with journal_at(path) as journal:
        waiting = [asyncio.ensure_future(journal.append_samples("tele", samples(1, n))) for n in range(50)]
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        heads = await asyncio.gather(*waiting)
    assert max(head.seq for head in heads) == 50
    ledger = Ledger(path, signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, STREAMS, HandClock())
    assert ledger.head("tele").seq == 50
    ledger.close()


async def test_a_disk_that_fails_is_told_and_records_flow_again_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.recorder.RETRY_S", 0.01)
    path = tmp_path / "agent.db"
    async with journal_at(path) as journal, asyncio.timeout(20):
        recorder = Recorder(journal, HandClock())
        recording = asyncio.ensure_future(recorder.run())
        with failing(path):
            recorder.event("alarm", "link.lost", "j1", "", "while the disk fails")
            await wait_until(lambda: recorder.failures > 3)
            assert recorder.is_failing
            with pytest.raises(LedgerError, match="disk I/O error"):
                await journal.store_counter("alice/1", 5)
            with pytest.raises(LedgerError, match="disk I/O error"):
                await journal.acknowledged(StreamHead("alarm", journal.heads["alarm"].epoch, 9, bytes(32)))
        await wait_until(lambda: not recorder.is_failing)
        assert journal.heads["alarm"].seq == 1
        recorder.stop()
        await recording
        assert [entry.text for entry in await journal.log("", 9)] == ["while the disk fails"]


async def test_the_watch_beats_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.journal.WATCH_S", 0.01)
    async with journal_at(tmp_path / "agent.db") as journal, asyncio.timeout(20):
        go_on = threading.Event()
        hanging = asyncio.ensure_future(journal._ask(lambda _ledger: go_on.wait(20)))
        beats: list[None] = []
        watch = asyncio.ensure_future(journal.watch(lambda: beats.append(None)))
        await wait_until(lambda: len(beats) > 3)
        go_on.set()
        assert await hanging
        watch.cancel()


async def test_a_writer_that_ends_answers_everybody_and_ends_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.journal.WATCH_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # Else it writes the traceback, as it should.

    def end(_journal: Journal, _group: object) -> None:
        raise ValueError("a fault of ours")

    async with journal_at(tmp_path / "agent.db") as journal, asyncio.timeout(20):
        monkeypatch.setattr(Journal, "_commit", end)
        asked = [asyncio.ensure_future(journal.append_samples("tele", samples(1))) for _ in range(500)]
        with pytest.raises(JournalEndedError, match="ValueError: a fault of ours"):
            await journal.watch(lambda: None)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {JournalEndedError}
        with pytest.raises(JournalEndedError):
            await journal.next_number("conn")
