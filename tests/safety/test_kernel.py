"""The kernel as a whole: what is not listed is refused, and an approval is good for exactly what was judged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agent.model.command import COMMAND_CLASS, LOCAL_PLAN, Command, Origin, ReleaseJunction, Role, SelectPlan
from agent.model.equipment import Equipment
from agent.model.identity import EquipmentId, PlanNumber
from agent.safety.authority import OBSERVATION_AGE_MS_MAX
from agent.safety.kernel import RULES, judge
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import (
    ALICE,
    COMMANDS,
    NOW_MS,
    PLAN,
    RELEASE,
    RELEASE_LEVEL,
    SEEN,
    SITE,
    B,
    J,
    L,
    S,
    standing_for,
)


def verdict(command: Command, **changes: Any) -> Approved[Command] | Refused:
    facts = {
        "site": SITE,
        "observed": SEEN.get(command.equipment),
        "standing": standing_for(command),
        "now_ms": NOW_MS,
    } | changes
    return judge(command, **facts)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_passes_when_everything_is_in_order(command: Command) -> None:
    approved = verdict(command)
    assert isinstance(approved, Approved), approved
    assert approved.command is command
    assert approved.at_ms == NOW_MS


def test_every_command_has_rules_and_a_class() -> None:
    assert {command for command, _kind in RULES} == set(COMMAND_CLASS)


@dataclass(frozen=True, slots=True)
class SetGreen:
    """What must never exist."""

    equipment: EquipmentId
    origin: Origin
    group: int


class SlyPlan(SelectPlan):
    """A listed command's child is not listed."""

    __slots__ = ()


@pytest.mark.parametrize(
    "stranger",
    [
        SetGreen(J, ALICE, 1),
        SlyPlan(J, ALICE, PlanNumber(2), 1000),
        None,
        "green",
        255,
        object(),
        {"verb": "flash"},
        SelectPlan,
    ],
    ids=lambda stranger: type(stranger).__name__,
)
def test_sr_01_nothing_but_a_listed_command_is_judged(stranger: Any) -> None:
    refused = judge(stranger, SITE, SEEN[J], Standing(), NOW_MS)
    assert isinstance(refused, Refused)
    assert refused.rule == "SR-01"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_sr_01_each_kind_of_equipment_knows_only_its_own_commands(command: Command) -> None:
    for id_, equipment in SITE.equipment.items():
        asked = replace(command, equipment=id_)
        result = verdict(asked)
        if (type(command), type(equipment)) in RULES:
            assert isinstance(result, Approved)
        else:
            assert result == Refused("SR-01", f"a {equipment.kind} knows no {type(command).__name__}")


def test_sr_01_equipment_of_another_cabinet_is_unknown() -> None:
    elsewhere = replace(PLAN, equipment=EquipmentId("elsewhere"))
    assert verdict(elsewhere, observed=SEEN[J]) == Refused("SR-01", "this cabinet has no elsewhere")


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": "2"},
        {"plan": 2.0},
        {"plan": True},
        {"plan": None},
        {"lease_ms": float("nan")},
        {"lease_ms": True},
        {"equipment": 7},
        {"equipment": ["darcy"]},
        {"origin": None},
        {"origin": ("operator", ("alice",))},
        {"origin": Origin("operator", ("alice",))},  # type: ignore[arg-type]
        {"origin": Origin(Role.OPERATOR, ["alice"])},  # type: ignore[arg-type]
        {"origin": Origin(Role.OPERATOR, ("alice", 7))},  # type: ignore[arg-type]
        {"origin": Origin(Role.OPERATOR, "alice")},  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_sr_01_a_command_with_fields_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    refused = judge(replace(PLAN, **changes), SITE, SEEN[J], Standing(), NOW_MS)
    assert refused == Refused("SR-01", "not a well-formed SelectPlan")


NEED_NO_SIGHT = (ReleaseJunction, type(RELEASE_LEVEL))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_sr_28_no_verdict_without_a_fresh_reading_of_that_very_equipment(command: Command) -> None:
    seen = SEEN[command.equipment]
    other = {J: SEEN[B], B: SEEN[S], S: SEEN[J]}[command.equipment]
    namesake = replace(seen, equipment=EquipmentId("another"))
    late = NOW_MS + OBSERVATION_AGE_MS_MAX + 1
    for changes in (
        {"observed": None},
        {"observed": other},
        {"observed": namesake},
        {"now_ms": late, "standing": _moved(command, late)},
        {"observed": replace(seen, at_ms=NOW_MS + 1)},
    ):
        result = verdict(command, **changes)
        if isinstance(command, NEED_NO_SIGHT):
            assert isinstance(result, Approved)
        else:
            assert isinstance(result, Refused)
            assert result.rule == "SR-28"


def _moved(command: Command, now_ms: int) -> Standing:
    standing = standing_for(command)
    presence = standing.presence
    return replace(standing, presence=presence and replace(presence, at_ms=now_ms))


def test_sr_28_a_reading_counts_until_it_is_three_seconds_old() -> None:
    assert OBSERVATION_AGE_MS_MAX == 3_000
    assert isinstance(verdict(PLAN, now_ms=NOW_MS + 3_000), Approved)
    assert verdict(PLAN, now_ms=NOW_MS + 3_001) == Refused(
        "SR-28", "darcy was last read 3001 ms ago; its state is not known now"
    )
    assert verdict(PLAN, observed=None) == Refused("SR-28", "darcy has not been read yet")
    assert verdict(PLAN, observed=SEEN[B]) == Refused("SR-28", "what was read is not a reading of darcy")


def test_release_is_always_allowed_even_blind_and_unasked() -> None:
    assert isinstance(verdict(replace(RELEASE, origin=LOCAL_PLAN), observed=None), Approved)


def test_an_approval_cannot_be_built_outside_the_kernel() -> None:
    with pytest.raises(TypeError):
        Approved(PLAN, NOW_MS, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Approved(PLAN, NOW_MS)  # type: ignore[call-arg]


def test_a_lamp_is_driven_by_its_segment_only() -> None:
    equipment: Mapping[EquipmentId, Equipment] = SITE.equipment
    assert L in equipment
    assert not [key for key in RULES if key[1] is type(equipment[L])]
