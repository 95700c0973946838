"""What had expired at the earliest time it can be has expired, also for whoever does not know the time."""

import pytest

from agent.model.observation import ClockQuality
from agent.wire.envelope import join_set
from agent.wire.errors import UnknownKeyError
from agent.wire.gate import CommandGate, Nonces
from agent.wire.leadership import FLEET_STALE_MS, Leadership
from agent.wire.messages import SCHEMA, FleetState
from agent.wire.topics import down
from tests.wire.party import CITY, GATEWAY, T0_MS, ring, signer


def state(beat: int, issued_ms: int) -> FleetState:
    return FleetState(SCHEMA, "room", 3, "b", issued_ms, beat, 1)


def test_a_key_list_is_expired_by_the_clock_or_else_by_the_earliest_time() -> None:
    keys = ring()
    end_ms = keys.expires_ms
    assert not keys.is_expired(None)
    assert not keys.is_expired(None, end_ms)
    assert keys.is_expired(None, end_ms + 1)
    assert keys.is_expired(end_ms + 1)
    assert not keys.is_expired(end_ms, end_ms + 1), "a clock that is known is believed"


def test_a_command_by_a_key_that_surely_has_expired_is_not_believed_without_a_clock() -> None:
    keys, topic = ring(), down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]
    last_ms = next(each for each in keys.entries() if each.kid == "alice/1").not_after_ms
    sealed = join_set([signer("alice/1").seal(b"x", topic)])
    assert keys.open_set(sealed, topic, None, min(last_ms, keys.expires_ms)).payload == b"x"
    with pytest.raises(UnknownKeyError, match=r"outside its validity|has expired"):
        keys.open_set(sealed, topic, None, last_ms + 1)
    gate = CommandGate(keys, Nonces(bytes, 0))
    with pytest.raises(UnknownKeyError):
        gate.admit(sealed, topic, {}, 0, 0, ClockQuality.UNKNOWN, last_ms + 1)


def test_while_the_clock_is_unknown_states_played_again_from_before_the_floor_are_no_sign_of_life() -> None:
    leadership = Leadership()
    for beat, issued_ms in enumerate((T0_MS, T0_MS + 10_000, T0_MS + 20_000), start=1):
        leadership.receive(state(beat, issued_ms), beat, None, T0_MS + FLEET_STALE_MS + 30_000)
    assert leadership.heard_at_ms is None
    leadership.receive(state(4, T0_MS + 30_000), 4, None, T0_MS + FLEET_STALE_MS + 30_000)
    assert leadership.heard_at_ms == 4


def test_a_later_beat_proves_life_while_the_clock_is_unknown_and_the_first_does_not() -> None:
    leadership = Leadership()
    leadership.receive(state(1, T0_MS), 10, None, 0)
    assert leadership.heard_at_ms is None
    leadership.receive(state(2, T0_MS), 20, None, 0)
    assert leadership.heard_at_ms == 20
