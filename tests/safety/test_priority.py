"""Priority requests: who asks, how strongly, how often. No verb asks for one yet."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import LOCAL_PLAN, CommandClass, PriorityRequest
from agent.model.identity import EquipmentId
from agent.safety.budget import spend
from agent.safety.kernel import judge
from agent.safety.standing import Spending, Spent, Standing
from agent.safety.verdict import Approved, Refused
from agent.wire.verbs import VERBS
from tests.safety.facts import ALICE, JUNCTION, NOW_MS, SEEN_JUNCTION, SITE, J

BUSES = replace(SITE, equipment={**SITE.equipment, J: replace(JUNCTION, priority_level_max=3)})
ASKED = PriorityRequest(J, ALICE, vehicle=4711, level=2, presence_ms=30_000)
OTHER = EquipmentId("other")


def verdict(command: PriorityRequest = ASKED, *spent: Spending) -> Approved[PriorityRequest] | Refused:
    return judge(command, BUSES, SEEN_JUNCTION, Standing(spent=spent), NOW_MS)


def given_ago(ago_ms: int, where: EquipmentId = J, vehicle: int = 4711) -> Spending:
    return Spending(CommandClass.R1_BOUNDED, where, NOW_MS - ago_ms, vehicle)


def test_sr_15_a_known_vehicle_may_ask() -> None:
    assert isinstance(verdict(), Approved)


def test_sr_15_the_requester_is_named_and_signed_for() -> None:
    reason = "a priority request names its vehicle and is signed"
    assert verdict(replace(ASKED, vehicle=0)) == Refused("SR-15", reason)
    assert isinstance(verdict(replace(ASKED, origin=LOCAL_PLAN)), Refused)
    assert isinstance(verdict(replace(ASKED, origin=replace(ALICE, subjects=()))), Refused)


@pytest.mark.parametrize(("level", "passes"), [(0, False), (1, True), (3, True), (4, False)])
def test_sr_15_no_request_is_stronger_than_the_ceiling(level: int, passes: bool) -> None:
    result = verdict(replace(ASKED, level=level))
    assert isinstance(result, Approved) or result == Refused("SR-15", f"priority level {level} is outside 1..3")
    assert isinstance(result, Approved) is passes


def test_sr_15_a_junction_without_a_ceiling_gives_no_priority() -> None:
    assert judge(ASKED, SITE, SEEN_JUNCTION, Standing(), NOW_MS) == Refused("SR-15", "no priority here")


@pytest.mark.parametrize(("presence_ms", "passes"), [(0, False), (1, True), (60_000, True), (60_001, False)])
def test_sr_15_a_vehicle_is_waited_for_a_minute_at_most(presence_ms: int, passes: bool) -> None:
    result = verdict(replace(ASKED, presence_ms=presence_ms))
    said = f"a vehicle is waited for up to 60 s, asked: {presence_ms / 1000:g} s"
    assert isinstance(result, Approved) or result == Refused("SR-15", said)
    assert isinstance(result, Approved) is passes


def test_sr_15_a_vehicle_asks_one_junction_once_in_two_minutes() -> None:
    assert verdict(ASKED, given_ago(119_999)) == Refused("SR-15", "vehicle 4711 asked here 119 s ago")
    assert verdict(ASKED, given_ago(119_000)) == Refused("SR-15", "vehicle 4711 asked here 119 s ago")
    assert isinstance(verdict(ASKED, given_ago(120_000)), Approved)
    assert isinstance(verdict(ASKED, given_ago(1, OTHER)), Approved)
    assert isinstance(verdict(ASKED, given_ago(1, vehicle=4712)), Approved)


def test_sr_15_a_vehicle_asks_one_cabinet_three_times_in_ten_minutes() -> None:
    spent = [given_ago(599_999, OTHER), given_ago(300_000), given_ago(200_000, OTHER)]
    said = "vehicle 4711 asked 3 times in 10 min at this cabinet"
    assert verdict(ASKED, *spent) == Refused("SR-15", said)
    assert isinstance(verdict(ASKED, given_ago(600_000, OTHER), *spent[1:]), Approved)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 90_000)), max_size=40))
def test_sr_15_no_vehicle_gets_more_than_its_share(asked: list[tuple[int, int]]) -> None:
    spent: Spent = ()
    now_ms, granted = NOW_MS, []
    for vehicle, step_ms in asked:
        now_ms += step_ms
        command = replace(ASKED, vehicle=vehicle)
        seen = replace(SEEN_JUNCTION, at_ms=now_ms)
        if isinstance(judge(command, BUSES, seen, Standing(spent=spent), now_ms), Approved):
            spent = spend(spent, command, now_ms)
            granted.append((vehicle, now_ms))
    for vehicle, at_ms in granted:
        own = [then_ms for each, then_ms in granted if each == vehicle and then_ms <= at_ms]
        assert sum(at_ms - then_ms < 600_000 for then_ms in own) <= 3
        assert sum(at_ms - then_ms < 120_000 for then_ms in own) == 1


def test_sr_15_no_verb_asks_for_priority_yet() -> None:
    assert PriorityRequest not in {verb.command for verb in VERBS.values()}
