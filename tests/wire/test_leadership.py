"""Which manager leads, and whether it was heard."""

from agent.wire.leadership import FLEET_STALE_MS, Leadership
from agent.wire.messages import SCHEMA, Birth, FleetState, Heartbeat
from tests.wire.party import T0_MS


def state(term: int, beat: int, fleet: str = "room-1", issued_ms: int = T0_MS) -> FleetState:
    return FleetState(SCHEMA, fleet, term, "b", issued_ms, beat, 1)


def test_the_higher_term_leads_and_the_lower_is_not_believed() -> None:
    seen = Leadership()
    assert seen.term == 0
    assert seen.receive(state(3, 1), 0, T0_MS)
    assert not seen.receive(state(2, 99, "room-2"), 1, T0_MS)
    assert seen.receive(state(4, 1, "room-2"), 2, T0_MS)
    assert seen.leader is not None
    assert seen.leader.fleet == "room-2"
    assert [seen.accepts(term) for term in (3, 4, 5)] == [False, True, True]


def test_two_managers_under_one_term_are_a_dispute_and_the_first_stays() -> None:
    seen = Leadership()
    seen.receive(state(3, 1), 0, T0_MS)
    assert not seen.receive(state(3, 9, "room-2"), 1, T0_MS)
    assert seen.is_disputed
    assert seen.leader is not None
    assert seen.leader.fleet == "room-1"
    seen.receive(state(4, 1), 2, T0_MS)
    assert not seen.is_disputed


def test_a_repeated_state_is_no_sign_of_life() -> None:
    seen = Leadership()
    assert seen.is_silent(0)
    seen.receive(state(3, 1), 1000, T0_MS)
    assert not seen.is_silent(1000 + FLEET_STALE_MS)
    seen.receive(state(3, 1), 2000, T0_MS)
    seen.receive(state(3, 0), 2000, T0_MS)
    assert seen.is_silent(1001 + FLEET_STALE_MS)
    seen.receive(state(3, 2), 200_000, T0_MS)
    assert not seen.is_silent(200_000)


def test_an_old_retained_state_is_known_but_not_heard() -> None:
    seen = Leadership()
    seen.receive(state(3, 7), 0, T0_MS + FLEET_STALE_MS)
    assert seen.term == 3
    assert seen.is_silent(0)


def test_without_a_clock_only_the_next_beat_proves_life() -> None:
    seen = Leadership()
    seen.receive(state(3, 7), 0, None)
    assert seen.is_silent(0)
    seen.receive(state(3, 8), 1, None)
    assert not seen.is_silent(1)
    seen.connected()
    seen.receive(state(3, 9), 500_000, None)
    assert seen.is_silent(500_000)


def test_a_birth_and_a_heartbeat_tell_which_state_is_followed() -> None:
    seen = Leadership()
    beat = Heartbeat("gw", 1, 2, T0_MS, 2, {}, {}, [], 0)
    assert seen.tell(beat) == beat
    seen.receive(state(3, 7), 0, T0_MS)
    told = seen.tell(beat)
    assert (told.fleet_term, told.fleet_issued_ms, told.beat) == (3, T0_MS, 2)
    born = seen.tell(Birth("gw", 1, "Darcy", T0_MS, 2, {}, [], [], [], "0"))
    assert (born.fleet_term, born.fleet_issued_ms) == (3, T0_MS)
