"""A standby with a store of its own asks the manager that leads for what it missed, and notices if somebody else answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fleet.cli import main
from fleet.control_room import ControlRoom
from fleet.errors import FolderError
from fleet.folder import read_trust
from fleet.leading import Role
from fleet.server import Settings, check_told, serve
from tests.fleet.conftest import GATEWAYS, Running, until
from tests.fleet.standin import StandIn

LEADER = "control-room"


@pytest.fixture
async def standby(tmp_path: Path, trust_folder: Path) -> AsyncIterator[ControlRoom]:
    """A manager with a store of its own and without sockets."""
    folder = tmp_path / "standby"
    folder.mkdir()
    room = ControlRoom("failover-room", folder, trust_folder, read_trust(trust_folder))
    yield room
    room.store.close()


@pytest.fixture
async def follows(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> Callable[[ControlRoom, str], None]:
    """Make a room stand by for a leader that is said to be at the running manager's address, and lack a link of it."""
    voice = standin()
    async with manager.live(voice).connected() as gateway:
        gateway.tell(voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
    await until(lambda: "state" in manager.room.registry.gateway(GATEWAYS[0]).stored)

    def follow(room: ControlRoom, leader: str) -> None:
        monkeypatch.setattr(room.leading, "role", lambda: Role(False, 1, leader, manager.url + "/", 9))
        room.registry.gateway(GATEWAYS[0]).stored.clear()
        monkeypatch.setattr(room.catch_up, "_missing", lambda: iter([(GATEWAYS[0], "state")]))

    return follow


async def test_what_was_missed_comes_from_the_manager_that_leads(
    standby: ControlRoom, follows: Callable[[ControlRoom, str], None]
) -> None:
    follows(standby, LEADER)
    await standby.catch_up.look()
    assert (standby.catch_up.problem, standby.writer.waiting) == ("", 1)


async def test_a_leaders_address_at_which_another_manager_answers_is_told(
    standby: ControlRoom, follows: Callable[[ControlRoom, str], None]
) -> None:
    follows(standby, "third-room")
    await standby.catch_up.look()
    assert f"answers {LEADER}: start third-room with --address" in standby.catch_up.problem
    assert standby.writer.waiting == 0


async def test_a_standby_that_would_catch_up_from_itself_says_so(
    manager: Running, follows: Callable[[ControlRoom, str], None]
) -> None:
    follows(manager.room, "third-room")
    await manager.room.catch_up.look()
    health = (await manager.http.get("/api/health")).json()
    assert health["status"] == "degraded"
    assert "catch-up from third-room: at http://127.0.0.1:" in health["detail"]
    assert "answers this manager itself: start third-room with --address" in health["detail"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://0.0.0.0:8080", "nobody on another machine reaches"),
        ("http://[::]:8080/", "nobody on another machine reaches"),
        ("https://a.example:1", "expected http://host:port"),
        ("http://", "expected http://host:port"),
        ("http://a.example:99999", "expected http://host:port"),
        ("http://[", "expected http://host:port"),
        ("http://a.example:1/path", "expected http://host:port"),
    ],
)
def test_an_address_that_leads_nobody_here_is_refused(
    url: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--dir", str(tmp_path), "--address", url]) == 4
    assert problem in capsys.readouterr().err


def test_an_address_or_a_name_is_one() -> None:
    for url in ("http://10.1.2.3:8080/", "http://[2001:db8::1]:8080", "http://room-b.example"):
        check_told(url)


async def test_two_managers_must_be_told_where_one_that_listens_everywhere_is_reached(
    tmp_path: Path, trust_folder: Path
) -> None:
    place = str(tmp_path / "lease.db")
    settings = Settings(
        tmp_path, trust_folder, LEADER, ("mqtt://127.0.0.1:1",), "0.0.0.0", 0, is_open=True, lease=place
    )
    async with asyncio.timeout(10):
        with pytest.raises(FolderError, match="say by --address"):
            await serve(settings)
