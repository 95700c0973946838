"""When a silent unit is left alone, and when it is asked again."""

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.breaker import PAUSE_S_MAX, Breaker


def test_one_silence_is_an_accident_and_two_open_the_breaker() -> None:
    breaker = Breaker()
    breaker.record_silence(10.0, 0.0)
    assert breaker.lets_through(10.0)
    breaker.record_silence(10.5, 0.0)
    assert breaker.is_open
    assert not breaker.lets_through(11.4)
    assert breaker.lets_through(11.5)


def test_an_answer_closes_it_and_forgets_everything() -> None:
    breaker = Breaker()
    for now_s in (0.0, 1.0, 9.0):
        breaker.record_silence(now_s, 0.0)
    breaker.record_answer()
    assert not breaker.is_open
    breaker.record_silence(20.0, 0.0)
    assert breaker.lets_through(20.0)
    breaker.record_silence(21.0, 0.0)
    assert breaker.probe_at_s == 22.0


def test_each_failed_probe_doubles_the_pause_up_to_ten_seconds() -> None:
    breaker = Breaker()
    pauses = []
    now_s = 0.0
    for _ in range(7):
        breaker.record_silence(now_s, 0.0)
        pauses.append(breaker.probe_at_s - now_s)
        now_s = breaker.probe_at_s
    assert pauses == [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_jitter_keeps_the_pause_between_half_and_whole(jitters: list[float]) -> None:
    breaker = Breaker()
    for jitter in jitters:
        breaker.record_silence(100.0, jitter)
        assert 0.5 <= breaker.probe_at_s - 100.0 <= PAUSE_S_MAX
