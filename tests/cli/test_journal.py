"""The agent's journal written out: by a running agent, and from what is left on a disk."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerBusyError
from agent.ledger.ledger import Ledger
from agent.wire.local import Failed, GetPage, GetStatus, PageIs, Reply, Request
from agent.wire.messages import Event, StreamHead
from tests.cli.canned import Executor, serving
from tests.cli.conftest import Type
from tests.cli.journals import STREAMS, ledger, rows_of, signer, verified


class LivingAgent:
    """An agent that is up: it has its ledger open and answers for it."""

    def __init__(self, opened: Ledger, process: Executor, between: Callable[[], None] = lambda: None) -> None:
        self.ledger, self.process, self.between = opened, process, between
        self.asked: list[str] = []

    def answer(self, request: Request) -> Reply | bytes:
        match request:
            case GetPage(stream=stream, epoch=epoch, seq=seq, limit=limit):
                self.asked.append(stream)
                page = self.ledger.page(stream, (epoch, seq), limit)
                if (epoch, seq) > (0, 0):
                    self.between()
                return PageIs(page.newest, page.kept_bytes, page.rows)
            case GetStatus():
                return self.process.status()
        return Failed("not canned")


def test_a_running_agent_gives_the_same_bytes_itself(
    type_: Type, image: Path, city: Path, agent: Executor, file: Path, tmp_path: Path
) -> None:
    with ledger(image / "agent.db", signer(city)) as opened:
        living = LivingAgent(opened, agent)
        with serving(image / "agent.sock", living.answer):
            said = type_("journal export", str(tmp_path / "living.bin"))
        assert (said.exit, said.err) == (0, "")
        assert type_("journal export", str(tmp_path / "behind.bin")).exit == 6, (
            "never behind the back of one that hangs"
        )
    assert set(living.asked) == set(STREAMS)
    assert (tmp_path / "living.bin").read_bytes() == file.read_bytes()


def test_records_let_go_while_they_are_read_leave_no_hole(
    type_: Type, image: Path, city: Path, agent: Executor, tmp_path: Path
) -> None:
    with ledger(image / "agent.db", signer(city), tail_links=4) as opened:
        for number in range(200):
            opened.append_events("audit", [Event(0, "x", "", "", f"{number}", {})])

        def acknowledge() -> None:
            head = opened.head("audit")
            found = opened.hash_at("audit", head.epoch, 150)
            if opened.acked("audit").seq < 150 and found is not None:
                opened.acknowledged(StreamHead("audit", head.epoch, 150, found))

        with serving(image / "agent.sock", LivingAgent(opened, agent, acknowledge).answer):
            said = type_("journal export", str(tmp_path / "a.bin"), "--stream", "audit", "--json")
    assert said.exit == 0
    (part,) = said.document["streams"]
    assert (part["epochs"][0]["first"], part["epochs"][0]["last"]) == (147, 201)
    assert verified(type_, tmp_path / "a.bin", city).exit == 0


@pytest.mark.parametrize(
    ("more", "records"),
    [
        ("--stream alarm --since 1h", 1 + 10 + 1),
        ("--stream alarm --records 3..5", 3),
        ("--stream audit --records 1", 1),
        ("-s state -s audit --records 80..", 11),
        ("--stream state --records ..10", 10),
    ],
)
def test_a_selection_is_an_unbroken_part_of_each_stream(
    type_: Type, image: Path, city: Path, tmp_path: Path, more: str, records: int
) -> None:
    said = type_("journal export", str(tmp_path / "part.bin"), *more.split(), "--json")
    assert said.exit == 0, said.err
    assert said.document["records"] == records
    assert verified(type_, tmp_path / "part.bin", city).exit == 0


def test_an_epoch_can_be_picked(type_: Type, image: Path, city: Path, tmp_path: Path) -> None:
    old = rows_of(image / "agent.db", "alarm")[0][0]
    said = type_("journal export", str(tmp_path / "e.bin"), "-s", "alarm", "--epoch", str(old), "--json")
    assert [part["epochs"] for part in said.document["streams"]] == [[{"epoch": old, "first": 1, "last": 100}]]
    assert verified(type_, tmp_path / "e.bin", city).exit == 0


def test_what_cannot_be_selected_is_told_and_nothing_is_written(type_: Type, image: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "x.bin")
    for more, said in (
        ("--stream safety", "the agent keeps no stream safety. Nothing was written. The guard's own: armoire guard"),
        ("--records 9..3", "are no record numbers. Nothing was written. Write 10..20"),
        ("--records ..", "are no record numbers"),
        ("--records 500..", "There are no such records"),
        ("--since tomorrow", "is neither a duration nor a time"),
    ):
        told = type_("journal export", target, *more.split())
        assert told.exit in (2, 4)
        assert said in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_reads_everything_and_writes_nothing(type_: Type, image: Path, tmp_path: Path) -> None:
    said = type_("journal export", str(tmp_path / "x.bin"), "--dry-run")
    assert said.exit == 0
    assert "would write" in said.out
    assert said.out.endswith("Nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


IMAGE = """
import os, sys
from pathlib import Path
from agent.ledger.at_rest import LedgerAtRest
os.setuid(65534)
print(len(LedgerAtRest(Path(sys.argv[1])).page("tele", (0, 0), 1000).rows))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write")
def test_an_image_that_may_not_be_written_is_read_with_its_write_ahead_log(city: Path, state: Path) -> None:
    path = state / "agent.db"
    writer = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.cli.journals import *\n"
        "opened = Ledger(Path(sys.argv[1]), signer(Path(sys.argv[2])), CITY, GATEWAY, STREAMS, Clock())\n"
        "fill(opened)\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", writer, str(path), str(city)], check=False, timeout=60)
    assert path.with_name("agent.db-wal").stat().st_size > 0
    state.chmod(0o755)
    read = subprocess.run(
        [sys.executable, "-c", IMAGE, str(path)], capture_output=True, check=False, timeout=60, text=True
    )
    assert read.stdout.strip() == "90", read.stderr


def test_a_copy_is_never_made_of_a_ledger_that_is_open(city: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    code = (
        "import sys\nfrom pathlib import Path\nfrom agent.ledger.at_rest import LedgerAtRest\n"
        "LedgerAtRest(Path(sys.argv[1]))._copied()"
    )
    with ledger(path, signer(city)):
        tried = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, check=False, timeout=60, text=True
        )
    assert LedgerBusyError.__name__ in tried.stderr
