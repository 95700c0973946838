"""Somebody else's hand on the controller: what is said of it, and how often."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.guard.foreign import SAMPLES, TOLD_PERIOD_MS, ForeignHand

SCAN_MS = 100


def test_sr_31_a_foreign_pattern_is_told_by_the_second_sample_and_once() -> None:
    hand = ForeignHand()
    assert (hand.see(3, 0), hand.is_sure) == ("", False)
    words = "pattern 3 is requested of the controller, and not by this guard since it started"
    assert (hand.see(3, 100), hand.is_sure) == (words, True)
    assert [hand.see(3, 100 * n) for n in range(2, 2_000)] == [""] * 1_998


def test_sr_31_one_forged_reply_says_nothing() -> None:
    hand = ForeignHand()
    for moment in range(0, 1_000, 2):
        assert (hand.see(255, moment), hand.is_sure) == ("", False)
        assert hand.see(None, moment + 1) == ""


def test_sr_31_what_changes_again_is_told_after_a_minute_with_how_often() -> None:
    hand = ForeignHand()
    said = {at: text for at in range(0, 60_000, 1_000) if (text := hand.see(1 + at // 1_000 % 2, at))}
    assert list(said) == [1_000]
    last = hand.see(0, 1_000 + TOLD_PERIOD_MS)
    assert last.startswith("a release is requested of the controller")
    assert last.endswith("such requests since the last word of it")


def test_sr_31_flash_and_free_have_their_names() -> None:
    for request, words in ((255, "flash"), (254, "free running"), (0, "a release"), (17, "pattern 17")):
        hand = ForeignHand()
        hand.see(request, 0)
        assert hand.see(request, 1).startswith(f"{words} is requested")


@given(st.lists(st.sampled_from([None, 0, 1, 2, 3, 255]), min_size=1, max_size=2_000))
def test_sr_31_never_more_than_one_word_a_minute_and_never_without_two_samples(seen: list[int | None]) -> None:
    hand, told, run = ForeignHand(), [], 0
    for number, request in enumerate(seen):
        run = 0 if request is None else run + 1
        text = hand.see(request, number * SCAN_MS)
        assert hand.is_sure is (run >= SAMPLES)
        if text:
            assert run >= SAMPLES
            told.append(number * SCAN_MS)
    assert all(later - earlier >= TOLD_PERIOD_MS for earlier, later in pairwise(told))


@given(st.integers(0, 255), st.integers(2, 50))
def test_sr_31_what_stays_is_always_told(request_: int, samples: int) -> None:
    hand = ForeignHand()
    assert [bool(hand.see(request_, SCAN_MS * n)) for n in range(samples)].index(True) == 1
