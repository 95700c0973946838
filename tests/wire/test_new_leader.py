"""What a stream does when another manager begins to lead, which may lack the newest that was acknowledged."""

from agent.wire.streams import GO_BACK_MS_MIN, NEW_LEADER_GO_BACK_MS, Durable, Outbound, Regressed, Unmoved
from tests.wire.test_streams import digest, head, send_all


def test_a_manager_that_begins_to_lead_and_lacks_what_was_acknowledged_is_sent_it_after_one_return() -> None:
    outbound = Outbound(head(20), 10)
    outbound.restart(is_new_leader=True)
    send_all(outbound, 0)
    assert outbound.receive_ack(head(9), digest(9), 50) == Unmoved()
    assert outbound.tick(NEW_LEADER_GO_BACK_MS - 1) is None
    assert outbound.tick(NEW_LEADER_GO_BACK_MS) == Regressed(9)
    outbound.rewind(9)
    assert send_all(outbound, 600)[0] == 10
    assert outbound.receive_ack(head(11), digest(11), 650) == Durable(11)


def test_once_it_has_acknowledged_something_it_is_a_leader_like_any_other() -> None:
    outbound = Outbound(head(20), 10)
    outbound.restart(is_new_leader=True)
    send_all(outbound, 0)
    assert outbound.receive_ack(head(11), digest(11), 50) == Durable(11)
    assert outbound.receive_ack(head(9), digest(9), 60) == Unmoved()
    assert outbound.tick(50 + GO_BACK_MS_MIN) is None


def test_one_that_holds_everything_and_is_slow_is_only_sent_it_again() -> None:
    outbound = Outbound(head(20), 10)
    outbound.restart(is_new_leader=True)
    send_all(outbound, 0)
    assert outbound.tick(NEW_LEADER_GO_BACK_MS) is None
    assert send_all(outbound, NEW_LEADER_GO_BACK_MS)[0] == 11
    assert outbound.deadline_ms == NEW_LEADER_GO_BACK_MS + GO_BACK_MS_MIN
