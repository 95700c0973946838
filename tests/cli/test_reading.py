"""What a technician reads: every value with quality and age, every story with its rule."""

from pathlib import Path

import pytest

from agent.wire.local import EquipmentIs, LatchView, PointView
from agent.wire.messages import Value
from tests.cli.canned import Executor, mute, serving, view
from tests.cli.conftest import Type


def test_status_shows_both_processes_and_how_far_the_fleet_is(
    type_: Type, agent_up: Executor, guard_up: Executor
) -> None:
    said = type_("status")
    assert said.exit == 0
    assert said.err == ""
    assert "gw-darcy, Place Darcy (dijon)" in said.out
    assert "agent: up 3 h 12 min, process 4711, fleet up" in said.out
    assert "guard: up 3 h 12 min, process 4698" in said.out
    assert "7 (2 waiting)" in said.out
    assert "warning: j-wilson: latched by SR-02, reset only at the open cabinet: " in said.out


def test_status_as_json_has_both_processes(type_: Type, agent_up: Executor, guard_up: Executor) -> None:
    document = type_("status --json").document
    assert set(document) == {"agent", "guard", "missing"}
    assert document["guard"]["heads"] == [{"stream": "safety", "epoch": 1, "seq": 9, "hash": "00" * 32}]
    assert document["missing"] == {}


def test_status_says_when_a_process_is_missing(type_: Type, agent_up: Executor) -> None:
    said = type_("status")
    assert said.exit == 0
    assert "The guard" in said.out or "the guard has no socket" in said.out
    document = type_("status --json").document
    assert document["guard"] is None
    assert "no socket" in document["missing"]["guard"]


def test_no_guard_is_missed_where_nothing_is_under_guard(type_: Type, agent: Executor, agent_up: Executor) -> None:
    agent.views = [each for each in agent.views if each.executor != "guard"]
    said = type_("status")
    assert said.exit == 0
    assert "guard: none, as there is nothing under guard here, neither junction nor bollard." in said.out
    assert "socket" not in said.out + said.err
    document = type_("status --json").document
    assert document["guard"] is None
    assert document["missing"] == {}


def test_with_both_down_it_is_said_that_a_guard_may_not_be_needed(type_: Type) -> None:
    said = type_("status")
    assert said.exit == 6
    assert "The guard has no socket at" in said.err
    assert "guard.sock, and needs none where nothing is under guard." in said.err


def test_the_guard_answers_when_the_agent_is_down(type_: Type, guard_up: Executor) -> None:
    said = type_("equipment")
    assert said.exit == 0
    assert said.err == "agent is down; showing the guard's view\n"
    assert "bollard-rameau" in said.out
    assert "seg-darcy-1" not in said.out
    assert type_("status").err == "agent is down; showing the guard's view\n"
    assert type_("show bollard-rameau --json").document["seen_by"] == "guard"


def test_the_guard_answers_when_the_agent_hangs(type_: Type, state: Path, guard_up: Executor) -> None:
    with mute(state / "agent.sock"):
        said = type_("why bollard-rameau")
    assert said.exit == 0
    assert "agent is down" in said.err


def test_nobody_there_is_exit_6_with_what_to_do(type_: Type, state: Path) -> None:
    for line in (
        "status",
        "equipment",
        "show bollard-rameau",
        "why bollard-rameau",
        "log",
        "bollard lower bollard-rameau",
    ):
        said = type_(line)
        assert said.exit == 6
        assert said.out == ""
        assert "the agent has no socket" in said.err
        assert "follows its own plan" in said.err
        assert "armoire run SITE.toml" in said.err
        assert type_(line, "--json").document["error"]["exit"] == 6


def test_a_socket_left_behind_is_told_apart(type_: Type, state: Path) -> None:
    with mute(state / "other.sock"):
        (state / "other.sock").rename(state / "agent.sock")
        (state / "other.sock").touch()
    assert "is gone; it left its socket" in type_("equipment").err


def test_a_path_too_long_for_a_socket_is_a_sentence(type_: Type, tmp_path: Path) -> None:
    said = type_("equipment", "--state", str(tmp_path / ("x" * 120)))
    assert said.exit == 6
    assert "cannot be reached" in said.err


def test_no_value_stands_without_quality_and_age(type_: Type, agent_up: Executor) -> None:
    said = type_("show seg-darcy-1")
    assert "40 (stale 42 s)" in said.out
    assert "? (bad 3 s)" in said.out
    assert "812" not in said.out
    assert "in force: level 40 % for another 1710 s" in said.out
    assert "(good 0 s)" in type_("show bollard-rameau").out
    assert "level_percent 40 (stale 42 s)" in type_("equipment").out


def test_show_tells_a_latch_and_how_to_clear_it(type_: Type, agent_up: Executor) -> None:
    said = type_("show j-wilson")
    assert "latched by SR-02 since" in said.out
    assert "groups 1 and 3 green together. Reset only on site" in said.out
    assert "Nothing has been read from it yet." in said.out
    assert type_("show j-wilson --json").document["equipment"]["latch"]["rule"] == "SR-02"


def test_why_is_a_story_newest_first(type_: Type, agent_up: Executor) -> None:
    said = type_("why bollard-rameau")
    assert said.exit == 0
    first, *rest = said.out.splitlines()
    assert first.startswith("bollard-rameau: down at 0 %, loop A occupied; its own plan; mode supervised because ")
    assert "command.refused by SR-19: raise: loop A is occupied." in rest[0]
    assert "verb raise, issuer gw-darcy/tech/1, state nothing was sent to the equipment" in rest[1]
    assert "command.done" in rest[2]
    assert "Nothing on record led to it" in type_("why seg-darcy-1").out


def test_log_is_newest_last_and_limited(type_: Type, agent_up: Executor) -> None:
    said = type_("log")
    assert said.out.index("safety/7") < said.out.index("safety/8")
    entries = type_("log --equipment bollard-rameau -n 1 --json").document["entries"]
    assert [entry["seq"] for entry in entries] == [8]
    assert entries[0]["rule"] == "SR-19"
    assert "Nothing on record." in type_("log --equipment seg-darcy-1").out
    assert type_("log -n 0").exit == type_("log -n 501").exit == type_("log --number many").exit == 2


def test_an_unknown_id_gets_the_nearest_one(type_: Type, agent_up: Executor) -> None:
    said = type_("show bolard-rameau")
    assert said.exit == 2
    assert "did you mean bollard-rameau?" in said.err.lower()
    for line in ("why nothing-like-it", "log --equipment nothing-like-it", "reset nothing-like-it"):
        assert type_(line).exit == 2
    assert type_("show Ünsinn").exit == type_("show", "x" * 41).exit == type_("show", "a\x1b[2J").exit == 2


def test_what_only_the_agent_knows_is_unreachable_without_it(type_: Type, guard_up: Executor) -> None:
    said = type_("show seg-darcy-1")
    assert said.exit == 6
    assert "the agent is down and the guard knows no equipment" in said.err


HOSTILE = "Dar\x1b[2Jcy\u202e\x07[red]\nPlace\x9b"


def test_a_name_cannot_act_on_the_terminal(type_: Type, state: Path) -> None:
    hostile = view(
        "b", "bollard", "guard", ["low\x1ber"], points=[PointView("p\x1b", HOSTILE, 0, 0, 0)], holding=HOSTILE
    )
    with serving(state / "agent.sock", lambda _request: EquipmentIs([hostile])):
        for line in ("equipment", "show b", "equipment --json", "show b --json"):
            said = type_(line)
            assert said.exit == 0
            assert not set(said.out) & set("\x1b\x07\u202e\x9b")
        assert "[red]" in type_("show b").out
        assert type_("show b --json").document["equipment"]["points"][0]["value"] == HOSTILE


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), -0.0, 2**64 - 1, -(2**63), None, "", True]
)
def test_every_value_of_the_wire_can_be_shown(type_: Type, state: Path, value: Value) -> None:
    points = [PointView("p", value, quality, 2**63 - 1, 2**63 - 1) for quality in range(4)]
    shown = view("b", "points", "", [], points=points)
    with serving(state / "agent.sock", lambda _request: EquipmentIs([shown])):
        assert type_("show b").exit == type_("equipment").exit == 0
        assert type_("show b --json").document["equipment"]["points"][0]["quality"] == "good"


def test_an_impossible_time_is_shown_as_such(type_: Type, agent_up: Executor) -> None:
    latch = LatchView("SR-02", "two greens", 2**63 - 1)
    agent_up.views.append(view("j-old", "junction", "guard", [], latch=latch))
    assert "since no such time" in type_("show j-old").out
