"""SR-13: a latched fault leaves only the safe directions, and ends only at the open cabinet."""

from dataclasses import replace

import pytest

from agent.model.command import Command, LowerBollard, ReleaseJunction, ResetLatch
from agent.model.observation import Observed, Presence
from agent.safety.kernel import judge
from agent.safety.mode import SUPERVISED, Mode, ModeEntry, worst
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import (
    AT_THE_CABINET,
    AUTONOMOUS,
    COMMANDS,
    HELD,
    LATCH,
    LATCHED,
    NOW_MS,
    RESET,
    RESET_BOLLARD,
    SEEN,
    SEEN_BOLLARD,
    SEEN_JUNCTION,
    SITE,
    TAGGED_OUT,
)

HERE = replace(LATCHED, presence=AT_THE_CABINET)


def verdict(command: Command, standing: Standing = HERE, seen: Observed | None = None) -> Approved[Command] | Refused:
    return judge(command, SITE, seen or SEEN[command.equipment], standing, NOW_MS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("standing", [LATCHED, HELD, Standing(latch=LATCH)], ids=["latched", "held", "latch alone"])
def test_sr_13_a_fault_leaves_release_lower_and_a_reset_on_site(command: Command, standing: Standing) -> None:
    result = verdict(command, replace(standing, presence=AT_THE_CABINET))
    if isinstance(command, ReleaseJunction | LowerBollard | ResetLatch):
        assert isinstance(result, Approved)
    else:
        assert isinstance(result, Refused)
        assert result.rule == "SR-13"


def test_sr_13_says_what_holds_the_equipment() -> None:
    assert verdict(COMMANDS[0]) == Refused(
        "SR-13", "latched by SR-02: groups 1 and 2 at once; reset it at the open cabinet"
    )
    assert verdict(COMMANDS[0], HELD) == Refused("SR-13", "held: commissioning; cleared by the commissioning key")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_sr_30_what_holds_says_by_which_rule(command: Command) -> None:
    unsigned = Standing(ModeEntry(Mode.HELD, "site not commissioned: no signature", "signing", "SR-30"))
    said = verdict(command, replace(unsigned, presence=AT_THE_CABINET))
    if isinstance(command, ReleaseJunction | LowerBollard | ResetLatch):
        assert isinstance(said, Approved)
    else:
        assert said == Refused("SR-30", "held: site not commissioned: no signature; cleared by signing")


def test_sr_13_a_reset_needs_the_open_door_and_the_turned_key_now() -> None:
    assert isinstance(verdict(RESET), Approved)
    assert isinstance(verdict(RESET_BOLLARD), Approved)
    assert verdict(RESET, LATCHED) == Refused(
        "SR-13", "a reset counts only at the open cabinet, and its door and key cannot be read"
    )
    needs = "a reset needs the cabinet door open and the local key turned"
    for presence, words in (
        (Presence(NOW_MS, door_open=False, local_key=True), "door closed, local key turned, read 0 ms ago"),
        (Presence(NOW_MS, door_open=True, local_key=False), "door open, local key not turned, read 0 ms ago"),
        (Presence(NOW_MS - 3_001, door_open=True, local_key=True), "door open, local key turned, read 3001 ms ago"),
    ):
        for command in (RESET, RESET_BOLLARD):
            assert verdict(command, replace(LATCHED, presence=presence)) == Refused("SR-13", f"{needs}: {words}")
    assert isinstance(
        verdict(RESET, replace(LATCHED, presence=replace(AT_THE_CABINET, at_ms=NOW_MS - 3_000))), Approved
    )


def test_sr_13_no_reset_before_the_fault_is_gone_for_ten_seconds() -> None:
    assert isinstance(verdict(RESET, replace(HERE, fault_seen_at_ms=NOW_MS - 10_000)), Approved)
    for command in (RESET, RESET_BOLLARD):
        assert verdict(command, replace(HERE, fault_seen_at_ms=NOW_MS - 9_999)) == Refused(
            "SR-13", "no fault may be seen for 10 s before a reset: the last one was seen 9999 ms ago"
        )


def test_sr_13_no_reset_while_the_signals_contradict_the_matrix() -> None:
    both_green = replace(SEEN_JUNCTION, greens=0b0011)
    assert verdict(RESET, seen=both_green) == Refused(
        "SR-13", "the fault is still there: conflicting groups at once: 1 green, 2 green"
    )
    stranger = replace(SEEN_JUNCTION, greens=0b1_0000_0001)
    assert verdict(RESET, seen=stranger) == Refused(
        "SR-13", "the fault is still there: uncommissioned channel green: 9"
    )


def test_sr_13_no_reset_while_a_bollard_that_is_not_down_shows_green() -> None:
    assert verdict(RESET_BOLLARD, seen=replace(SEEN_BOLLARD, at_bottom=False)) == Refused(
        "SR-13", "the fault is still there: the green lamp is on and the bollard is not fully down"
    )


def test_the_worst_mode_wins_and_the_first_of_equals() -> None:
    first, second = ModeEntry(Mode.LOCAL, "tag", "a"), ModeEntry(Mode.LOCAL, "key", "b")
    assert worst([AUTONOMOUS.mode, TAGGED_OUT.mode, HELD.mode, SUPERVISED]) is HELD.mode
    assert worst([AUTONOMOUS.mode, first, second]) is first
    assert worst([]) is SUPERVISED
    assert [mode.name for mode in sorted(Mode)] == ["SUPERVISED", "AUTONOMOUS", "LOCAL", "HELD"]
