"""Text displays: templates only, and three check sums that agree. No verb asks for one yet."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import LOCAL_PLAN, ShowTemplate
from agent.model.equipment import Display
from agent.model.identity import EquipmentId
from agent.model.observation import DisplayObserved
from agent.safety.kernel import judge
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from agent.wire.verbs import VERBS
from tests.safety.facts import ALICE, DIJON, NOW_MS, SITE

D = EquipmentId("pmv-darcy")
DISPLAY = Display(D, "Darcy", DIJON, templates={1: 0x95F9, 2: 0x470F})
DISPLAYS = replace(SITE, equipment={**SITE.equipment, D: DISPLAY})
SEEN = DisplayObserved(D, NOW_MS, is_local=False, crcs={1: 0x95F9, 2: 0x1234}, loss_minutes=10, loss_message=True)
SHOW = ShowTemplate(D, ALICE, template=1, crc=0x95F9, lease_ms=3_600_000)


def verdict(command: ShowTemplate = SHOW, seen: DisplayObserved = SEEN) -> Approved[ShowTemplate] | Refused:
    return judge(command, DISPLAYS, seen, Standing(), NOW_MS)


def test_sr_18_a_commissioned_template_that_the_display_holds_is_shown() -> None:
    assert isinstance(verdict(), Approved)


def test_sr_18_says_which_check_sum_differs() -> None:
    held = "template 2 is 0x470f, the display holds 0x1234, asked: 0x470f"
    assert verdict(replace(SHOW, template=2, crc=0x470F)) == Refused("SR-18", held)
    asked = "template 1 is 0x95f9, the display holds 0x95f9, asked: 0x95f8"
    assert verdict(replace(SHOW, crc=0x95F8)) == Refused("SR-18", asked)
    none = "template 1 is 0x95f9, the display holds nothing, asked: 0x95f9"
    assert verdict(seen=replace(SEEN, crcs={})) == Refused("SR-18", none)


def test_sr_18_free_text_and_unknown_templates_do_not_exist() -> None:
    assert verdict(replace(SHOW, template=3)) == Refused("SR-18", "template 3 is not commissioned here; 1, 2 are")
    none = replace(SITE, equipment={D: replace(DISPLAY, templates={})})
    said = "template 1 is not commissioned here; none are"
    assert judge(SHOW, none, SEEN, Standing(), NOW_MS) == Refused("SR-18", said)


def test_sr_18_nothing_is_asked_of_a_display_in_local_mode() -> None:
    assert verdict(seen=replace(SEEN, is_local=True)) == Refused("SR-18", "the display is in local mode")


@pytest.mark.parametrize(("minutes", "message", "passes"), [(0, True, False), (1, True, False), (2, True, True)])
def test_sr_18_a_display_that_loses_us_falls_back_by_itself(minutes: int, message: bool, passes: bool) -> None:
    assert isinstance(verdict(seen=replace(SEEN, loss_minutes=minutes, loss_message=message)), Approved) is passes


def test_sr_18_says_what_is_missing_of_the_fallback() -> None:
    needs = "loss of communication needs 2 min or more and a message"
    zero, unset = replace(SEEN, loss_minutes=0), replace(SEEN, loss_minutes=None, loss_message=False)
    assert verdict(seen=zero) == Refused("SR-18", f"{needs}; time: 0 min, message: set")
    assert verdict(seen=unset) == Refused("SR-18", f"{needs}; time: not known, message: not set")


@pytest.mark.parametrize("lease_ms", [-1, 0, 86_400_001])
def test_sr_18_a_text_ends_by_itself(lease_ms: int) -> None:
    said = f"a text is shown for up to 24 h, asked: {lease_ms / 1000:g} s"
    assert verdict(replace(SHOW, lease_ms=lease_ms)) == Refused("SR-18", said)


@given(
    template=st.integers(0, 3),
    crc=st.sampled_from((0x95F9, 0x470F, 0)),
    held=st.dictionaries(st.integers(0, 3), st.sampled_from((0x95F9, 0x470F, 0))),
    is_local=st.booleans(),
    minutes=st.none() | st.integers(0, 4),
    message=st.booleans(),
)
def test_sr_18_whatever_is_shown_was_commissioned_and_is_held_and_ends(
    template: int, crc: int, held: dict[int, int], is_local: bool, minutes: int | None, message: bool
) -> None:
    seen = DisplayObserved(D, NOW_MS, is_local, held, minutes, message)
    passes = isinstance(verdict(replace(SHOW, template=template, crc=crc), seen), Approved)
    assert passes == (
        DISPLAY.templates.get(template) == crc == held.get(template)
        and not is_local
        and message
        and (minutes or 0) >= 2
    )


def test_sr_18_the_local_plan_shows_nothing_and_no_verb_does() -> None:
    assert isinstance(verdict(replace(SHOW, origin=LOCAL_PLAN)), Refused)
    assert ShowTemplate not in {verb.command for verb in VERBS.values()}
