"""What a gateway remembers of a fleet manager's log."""

from pathlib import Path

import pytest

from agent.model.identity import CityId
from agent.runtime.checkpoints import LOGS_MAX, SeenCheckpoints
from agent.wire.checkpoint import Checkpoint, seal_checkpoint
from tests.wire.party import CITY, ring, signer

KEYS = ring()
ROOM = "control-room"


def note(size: int, root: bytes = b"r" * 32, fleet: str = ROOM, kid: str = "director/1") -> str:
    return seal_checkpoint(signer(kid), Checkpoint(CityId(CITY), fleet, size, root))


@pytest.fixture
def seen(tmp_path: Path) -> SeenCheckpoints:
    return SeenCheckpoints(tmp_path / "checkpoints", lambda: KEYS)


def test_the_newest_checkpoint_survives_a_restart_and_is_a_file_to_carry_away(
    seen: SeenCheckpoints, tmp_path: Path
) -> None:
    assert [seen.take(ROOM, note(size)) for size in (5, 9)] == ["", ""]
    again = SeenCheckpoints(tmp_path / "checkpoints", lambda: KEYS)
    assert again.newest(ROOM) == (9, b"r" * 32)
    assert (tmp_path / "checkpoints" / "control-room.note").read_text() == note(9)
    assert again.newest("failover-room") == (0, b"")


def test_what_is_remembered_never_goes_back_and_never_changes(seen: SeenCheckpoints) -> None:
    seen.take(ROOM, note(9))
    assert seen.take(ROOM, note(8)) == "checkpoint-older"
    assert seen.take(ROOM, note(9, b"x" * 32)) == "checkpoint-contradicts"
    assert seen.newest(ROOM) == (9, b"r" * 32)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("junk", "checkpoint"),
        (note(10, kid="alice/1"), "checkpoint-signature"),
        ("", ""),
    ],
)
def test_what_is_not_the_managers_own_word_is_not_remembered(seen: SeenCheckpoints, told: str, why: str) -> None:
    seen.take(ROOM, note(9))
    assert seen.take(ROOM, told) == why
    assert seen.newest(ROOM)[0] == 9


def test_the_log_of_a_store_that_two_managers_share_is_one_whoever_tells_of_it(seen: SeenCheckpoints) -> None:
    assert seen.take(ROOM, note(9)) == ""
    assert seen.take("failover-room", note(12)) == ""
    assert seen.newest("failover-room") == seen.newest(ROOM) == (12, b"r" * 32)
    assert seen.take("failover-room", note(12, b"x" * 32)) == "checkpoint-contradicts"
    assert seen.take("failover-room", note(3, fleet="failover-room")) == ""
    assert (seen.newest("failover-room"), seen.newest(ROOM)[0]) == ((3, b"r" * 32), 12)


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "control-room.note").write_bytes(b"\xff" * 50)
    (folder / "other.note").write_text(note(3))
    seen = SeenCheckpoints(folder, lambda: KEYS)
    assert seen.newest(ROOM) == (0, b"")
    assert seen.take(ROOM, note(4)) == ""
    assert SeenCheckpoints(folder, lambda: KEYS).newest(ROOM)[0] == 4


def test_a_disk_that_takes_nothing_leaves_it_in_memory(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("no folder")
    seen = SeenCheckpoints(tmp_path / "checkpoints", lambda: KEYS)
    assert seen.take(ROOM, note(4)) == ""
    assert seen.newest(ROOM)[0] == 4


def test_strangers_names_do_not_fill_the_disk(seen: SeenCheckpoints, tmp_path: Path) -> None:
    for n in range(3 * LOGS_MAX):
        seen.take(f"room-{n}", note(1, fleet=f"room-{n}"))
    assert len(list((tmp_path / "checkpoints").iterdir())) == LOGS_MAX
