"""When the fleet has lost what it acknowledged, and when somebody only plays old acks again."""

import pytest

from agent.wire.messages import StreamHead
from agent.wire.regression import Regression
from agent.wire.streams import SUSPECT_MS


def at(seq: int, epoch: int = 5) -> StreamHead:
    return StreamHead("safety", epoch, seq, bytes(32))


OWN, ACKED = at(100), at(90)


@pytest.mark.parametrize(("ack", "seq"), [(at(40), 40), (at(0), 0), (None, 0), (at(70, epoch=4), 0)])
def test_acks_of_a_new_term_that_stay_low_mean_that_the_fleet_has_lost_it(ack: StreamHead | None, seq: int) -> None:
    watch = Regression()
    assert watch.lost_to(1, ACKED, OWN, ACKED, 0) is None
    assert watch.lost_to(2, ack, OWN, ACKED, 1_000) is None
    assert watch.lost_to(2, ack, OWN, ACKED, 1_000 + SUSPECT_MS - 1) is None
    assert watch.lost_to(2, ack, OWN, ACKED, 1_000 + SUSPECT_MS) == seq


def test_old_acks_played_again_are_no_loss() -> None:
    watch = Regression()
    assert watch.lost_to(3, ACKED, OWN, ACKED, 0) is None
    for now_ms in range(0, 10 * SUSPECT_MS, 1_000):
        for term in (1, 2, 3):
            assert watch.lost_to(term, at(40), OWN, ACKED, now_ms) is None


def test_late_acks_after_a_restart_are_forgotten_with_the_first_full_one() -> None:
    watch = Regression()
    assert watch.lost_to(1, at(88), OWN, ACKED, 0) is None
    assert watch.lost_to(1, at(91), OWN, ACKED, 100) is None
    assert watch.lost_to(2, at(88), OWN, ACKED, 2 * SUSPECT_MS) is None


def test_nothing_acknowledged_or_a_newer_epoch_is_no_loss() -> None:
    for now_ms in (0, SUSPECT_MS):
        watch = Regression()
        assert watch.lost_to(2, None, OWN, at(0), now_ms) is None
        assert watch.lost_to(2, at(1, epoch=6), OWN, ACKED, now_ms) is None
