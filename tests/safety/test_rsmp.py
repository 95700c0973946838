"""Timers of RSMP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.safety.rsmp import link_is_dead, order_ends, watchdog_is_due
from agent.safety.verdict import Refused


@pytest.mark.parametrize(("age_ms", "dead"), [(0, False), (29_999, False), (30_000, True)])
def test_sr_10_a_message_not_acknowledged_for_30_s_ends_the_link(age_ms: int, dead: bool) -> None:
    assert link_is_dead(1_000, 1_000 + age_ms) is dead
    assert link_is_dead(None, 1_000 + age_ms) is False


@pytest.mark.parametrize(("age_ms", "due"), [(0, False), (59_999, False), (60_000, True)])
def test_sr_10_a_watchdog_goes_out_every_60_s(age_ms: int, due: bool) -> None:
    assert watchdog_is_due(1_000, 1_000 + age_ms) is due
    assert watchdog_is_due(None, 0) is True


def test_sr_10_says_what_an_order_needs() -> None:
    assert order_ends(None) == Refused("SR-10", "an order lasts 1..60 min, asked: none")
    assert order_ends(0) == Refused("SR-10", "an order lasts 1..60 min, asked: 0 min")
    assert order_ends(1) is None
    assert order_ends(60) is None
    assert order_ends(61) == Refused("SR-10", "an order lasts 1..60 min, asked: 61 min")


@given(st.integers(-(10**6), 10**6))
def test_sr_10_every_order_that_passes_ends_within_the_hour(minutes: int) -> None:
    assert (order_ends(minutes) is None) is (1 <= minutes <= 60)
