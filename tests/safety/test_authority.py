"""SR-25, SR-11, SR-29: who may ask, and when."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import (
    COMMAND_CLASS,
    LOCAL_PLAN,
    Command,
    CommandClass,
    Origin,
    ReleaseJunction,
    ReleaseLevel,
    ResetLatch,
    Role,
    SetLevel,
)
from agent.model.observation import Presence
from agent.safety.authority import origin_suffices
from agent.safety.case import PRESENCE_AGE_MS_MAX, Case
from agent.safety.kernel import judge
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import (
    ALICE,
    AT_THE_CABINET,
    AUTONOMOUS,
    COMMANDS,
    FLASH,
    LATCHED,
    LEVEL,
    LOWER,
    NOW_MS,
    ON_SITE,
    PLAN,
    RAISE,
    RELEASE,
    RELEASE_LEVEL,
    RESET,
    SEEN,
    SITE,
    TAGGED_OUT,
    TECHNICIAN,
    by,
    standing_for,
)


def verdict(command: Command, standing: Standing | None = None, now_ms: int = NOW_MS) -> Approved[Command] | Refused:
    standing = standing_for(command) if standing is None else standing
    return judge(command, SITE, SEEN[command.equipment], standing, now_ms)


def rule(command: Command, standing: Standing | None = None) -> str:
    result = verdict(command, standing)
    return result.rule if isinstance(result, Refused) else ""


NOBODY = Origin(Role.OPERATOR)
SECOND_PERSON = Refused("SR-25", "a second person must sign, or a technician at the open cabinet with the key turned")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_sr_25_no_person_is_heard_without_a_signature(command: Command) -> None:
    for role in (Role.OPERATOR, Role.TECHNICIAN):
        for subjects in ((), ("",), ("", "")):
            assert verdict(by(Origin(role, subjects), command)) == Refused("SR-25", "nobody signed")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_sr_25_the_local_plan_sets_levels_and_releases_and_nothing_else(command: Command) -> None:
    result = verdict(by(LOCAL_PLAN, command), replace(standing_for(command), presence=AT_THE_CABINET))
    if isinstance(command, SetLevel | ReleaseLevel | ReleaseJunction):
        assert isinstance(result, Approved)
    else:
        assert result == Refused("SR-25", "the local plan may set lamp levels and release, nothing else")


def test_sr_25_the_classes_are_those_of_the_safety_page() -> None:
    assert {command.__name__: int(needs) for command, needs in COMMAND_CLASS.items()} == {
        "SelectPlan": 1,
        "RequestFlash": 3,
        "ReleaseJunction": 1,
        "LowerBollard": 1,
        "RaiseBollard": 2,
        "SetLevel": 1,
        "ReleaseLevel": 1,
        "ResetLatch": 4,
        "PriorityRequest": 1,
        "ShowTemplate": 1,
    }


def test_sr_25_flash_needs_two_different_people() -> None:
    assert isinstance(verdict(FLASH), Approved)
    assert verdict(by(ALICE, FLASH)) == SECOND_PERSON
    assert verdict(by(Origin(Role.OPERATOR, ("alice", "alice")), FLASH)) == SECOND_PERSON
    assert verdict(by(Origin(Role.OPERATOR, ("alice", "")), FLASH)) == SECOND_PERSON
    assert isinstance(verdict(by(Origin(Role.OPERATOR, ("alice", "bruno", "chloé")), FLASH)), Approved)


def test_sr_25_a_technician_at_the_open_cabinet_stands_for_the_second_signature() -> None:
    flash = by(TECHNICIAN, FLASH)
    assert verdict(flash) == SECOND_PERSON
    assert isinstance(verdict(flash, ON_SITE), Approved)
    assert verdict(flash, Standing(presence=Presence(NOW_MS, door_open=False, local_key=True))) == SECOND_PERSON
    assert verdict(flash, Standing(presence=Presence(NOW_MS, door_open=True, local_key=False))) == SECOND_PERSON
    assert isinstance(verdict(by(Origin(Role.TECHNICIAN, ("claude", "alice")), FLASH)), Approved)


def test_sr_25_somebody_elses_presence_gives_an_operator_nothing() -> None:
    assert verdict(by(ALICE, FLASH), ON_SITE) == SECOND_PERSON


def test_sr_25_presence_counts_for_three_seconds() -> None:
    assert PRESENCE_AGE_MS_MAX == 3_000
    flash = by(TECHNICIAN, FLASH)
    for at_ms, counts in ((NOW_MS - 3_000, True), (NOW_MS - 3_001, False), (NOW_MS, True), (NOW_MS + 1, False)):
        result = verdict(flash, Standing(presence=replace(AT_THE_CABINET, at_ms=at_ms)))
        assert isinstance(result, Approved) is counts


def test_sr_25_operators_never_reset_however_many_and_wherever() -> None:
    crowd = Origin(Role.OPERATOR, ("alice", "bruno", "chloé"))
    standing = replace(LATCHED, presence=AT_THE_CABINET)
    assert verdict(by(crowd, RESET), standing) == Refused(
        "SR-25", "only a technician on site may do this, never an operator"
    )


@given(
    role=st.sampled_from(Role),
    subjects=st.lists(st.sampled_from(["", "alice", "bruno", "claude"]), max_size=4).map(tuple),
    door=st.booleans(),
    key=st.booleans(),
    age_ms=st.integers(-2, 6_000),
    command=st.sampled_from(COMMANDS),
)
def test_sr_25_holds_for_any_signatures(
    role: Role, subjects: tuple[str, ...], door: bool, key: bool, age_ms: int, command: Command
) -> None:
    asked = by(Origin(role, subjects), command)
    standing = Standing(presence=Presence(NOW_MS - age_ms, door, key))
    passes = origin_suffices(Case(asked, SITE.equipment[asked.equipment], standing, NOW_MS)) is None
    people = set(subjects) - {""}
    there = door and key and 0 <= age_ms <= 3_000 and role is Role.TECHNICIAN
    if role is Role.LOCAL_PLAN:
        assert passes is isinstance(asked, SetLevel | ReleaseLevel | ReleaseJunction)
        return
    match COMMAND_CLASS[type(asked)]:
        case CommandClass.R4_CONFIGURATION:
            assert passes is (role is Role.TECHNICIAN and len(people) >= 1)
        case CommandClass.R3_DEGRADING:
            assert passes is (len(people) >= 2 or (there and len(people) == 1))
        case _:
            assert passes is (len(people) >= 1)


def test_sr_11_while_the_fleet_is_silent_operators_take_hold_of_nothing() -> None:
    for command in (PLAN, FLASH, LEVEL, RAISE):
        assert verdict(command, AUTONOMOUS) == Refused("SR-11", "local plans run: the fleet is silent")
    for command in (RELEASE, RELEASE_LEVEL, LOWER):
        assert isinstance(verdict(command, AUTONOMOUS), Approved)


def test_sr_11_the_technician_and_the_local_plan_go_on_without_the_fleet() -> None:
    assert isinstance(verdict(by(TECHNICIAN, PLAN), AUTONOMOUS), Approved)
    assert isinstance(verdict(by(TECHNICIAN, RAISE), AUTONOMOUS), Approved)
    assert isinstance(verdict(by(LOCAL_PLAN, LEVEL), AUTONOMOUS), Approved)
    assert isinstance(verdict(by(TECHNICIAN, FLASH), replace(AUTONOMOUS, presence=AT_THE_CABINET)), Approved)


def test_sr_29_where_somebody_works_only_a_technician_moves_anything() -> None:
    for command in (PLAN, FLASH, LOWER, RAISE, LEVEL, by(LOCAL_PLAN, LEVEL)):
        assert verdict(command, TAGGED_OUT) == Refused(
            "SR-29", "somebody works there: tagged out; cleared by the tag's owner"
        )
    for command in (RELEASE, RELEASE_LEVEL, by(TECHNICIAN, PLAN), by(TECHNICIAN, LOWER), by(TECHNICIAN, LEVEL)):
        assert rule(command, TAGGED_OUT) == ""


def test_a_reset_is_the_only_command_of_its_class() -> None:
    assert [command for command, needs in COMMAND_CLASS.items() if needs is CommandClass.R4_CONFIGURATION] == [
        ResetLatch
    ]
