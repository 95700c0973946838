"""What an operator acted on travels with the command, through approvals and restarts, and is told in words."""

from collections.abc import Callable

import pytest

from agent.wire.messages import EquipmentCard, Value
from fleet import command_rows
from fleet.answers import Expectation
from fleet.errors import AskError
from fleet.expectation import in_full, would_hold
from fleet.page import asked
from fleet.registry import UP, Gateway, Point
from tests.fleet.conftest import Running
from tests.fleet.standin import StandIn
from tests.fleet.test_commands import ask, known


async def test_the_cabinet_gets_what_was_expected_signed(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        answer = (await ask(manager, expect={"point": "level_percent", "value": 80})).json()
        await ask(manager, expect={"point": "box/door_open", "value": False})
        await ask(manager)
    expected = [(each.expect_point, each.expect_value) for each in gateway.commands]
    assert expected == [("segment-1/level_percent", 80), ("box/door_open", False), (None, None)]
    assert answer["expect"] == {"point": "segment-1/level_percent", "value": 80}
    assert asked(answer).endswith(", expecting segment-1/level_percent = 80")


async def test_what_the_issuer_saw_is_what_the_second_person_approves(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        expect = {"point": "flash", "value": "not-flash"}
        waiting = (await ask(manager, "flash", "junction-1", args={"lease_s": 300}, expect=expect)).json()
        manager.room.commands._open.clear()
        await manager.room.commands.load()  # As after a restart.
        await manager.http.post(f"/api/commands/{waiting['command_id']}/approve", json={"operator": "bruno"})
        listed = (await manager.http.get("/api/commands")).json()
    [command] = gateway.commands
    assert (command.expect_point, command.expect_value) == ("junction-1/flash", "not-flash")
    assert listed[0]["expect"] == {"point": "junction-1/flash", "value": "not-flash"}
    assert manager.room.store.read(lambda each: command_rows.newest(each, 1))[0].expect is not None


async def test_a_dry_run_says_whether_it_would_hold(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin()).connected():
        await known(manager)
        answer = (await ask(manager, dry_run=True, expect={"point": "level_percent", "value": 80})).json()
        nothing = await ask(manager, expect={"point": "level_percent", "value": None})
    assert "; expects segment-1/level_percent = 80, of which nothing is known here" in answer["reason"]
    assert nothing.status_code == 400
    assert "can be expected to be a value, not to have none" in nothing.json()["detail"]


NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("equipment", "point", "value", "words"),
    [
        ("segment-1", "segment-1/level_percent", 80, "and so it is, since 3 s ago: would hold"),
        ("segment-1", "segment-1/level_percent", 60, "it is 80, since 3 s ago: would be refused"),
        ("segment-1", "segment-1/dark", True, "the newest value, True 3 s ago, is not good: may be refused"),
        ("segment-1", "segment-1/nothing", 1, "nothing is known here"),
        ("junction-1", "segment-1/level_percent", 80, "which the guard does not see: would be refused"),
    ],
)
def test_a_rehearsal_compares_with_what_is_shown(equipment: str, point: str, value: Value, words: str) -> None:
    gateway = Gateway("gw-darcy", is_connected=True, is_heard=True, seen_ms=NOW_MS)
    gateway.cards = {
        each: _card(each, executor) for each, executor in (("segment-1", "agent"), ("junction-1", "guard"))
    }
    gateway.points["segment-1"] = {
        "level_percent": Point(80, 0, NOW_MS - 3_000),
        "dark": Point(True, 2, NOW_MS - 3_000),
    }
    assert gateway.link(NOW_MS) == UP
    assert words in would_hold(Expectation(point, value), equipment, gateway, NOW_MS)


def test_a_bare_name_is_a_point_of_the_commands_own_equipment() -> None:
    assert in_full(Expectation("state", "down"), "bollard-1") == Expectation("bollard-1/state", "down")
    assert in_full(Expectation("other/state", "down"), "bollard-1") == Expectation("other/state", "down")
    assert in_full(None, "bollard-1") is None
    with pytest.raises(AskError):
        in_full(Expectation("state", None), "bollard-1")


def _card(id_: str, executor: str) -> EquipmentCard:
    return EquipmentCard(id_, "segment", id_, 0.0, 0.0, executor, [], "")
