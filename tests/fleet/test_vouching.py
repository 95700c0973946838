"""What a heartbeat vouches for: only what was told by a gateway that is heard, seals, and whose seals we hold."""

from collections.abc import Callable

import pytest

from agent.model.observation import Quality
from agent.wire.messages import Birth, Heartbeat, StreamHead
from fleet import district
from fleet.arrears import BEHIND_AFTER_MS
from fleet.registry import UNSEALED_AFTER_MS, Gateway, Point, Registry
from tests.fleet.conftest import Running, until
from tests.fleet.standin import StandIn

T0_MS = 1_700_000_000_000
BEAT_MS = 10_000
GOOD, STALE = int(Quality.GOOD), int(Quality.STALE)


def at(seq: int, stream: str = "state", epoch: int = 1) -> StreamHead:
    return StreamHead(stream, epoch, seq, bytes(32))


class Street:
    """One gateway in a registry, by the clock of the test."""

    def __init__(self, held: int = 10, conn: int = 1) -> None:
        self.registry = Registry()
        self.gateway: Gateway = self.registry.gateway("gw")
        self.gateway.took(at(held))
        self.gateway.took(at(held, "tele"))
        self.now_ms = T0_MS
        self.conn = conn
        self.beats = 0
        self.born(held)

    def born(self, seq: int) -> None:
        heads = [at(seq), at(10, "tele")]
        birth = Birth("gw", self.conn, "Darcy", self.now_ms, 2, {}, [], heads, [], "0")
        self.registry.born(birth, self.now_ms)

    def beat(self, seq: int = 10, unsealed: int = 0, after_ms: int = BEAT_MS) -> None:
        self.now_ms += after_ms
        self.beats += 1
        heads = [at(seq), at(10, "tele")]
        self.registry.beaten(Heartbeat("gw", self.conn, self.beats, 0, 2, {}, {}, heads, unsealed), self.now_ms)

    def quality(self, stream: str = "state") -> int:
        return self.gateway.shown_quality(Point(1, GOOD, 0, stream), self.now_ms)


def test_a_gateway_that_seals_and_whose_seals_we_hold_is_vouched_for() -> None:
    street = Street()
    for seq in range(11, 20):
        street.beat(seq)  # The newest is still on its way at each beat.
        assert street.quality() == GOOD
        street.gateway.took(at(seq))
    assert street.gateway.behind(street.now_ms) == {}
    assert street.gateway.backlog() == 0


def test_an_old_value_is_stale_while_its_stream_is_behind_for_two_beats() -> None:
    street = Street()
    street.beat(15)
    for seq in (30, 45):
        assert street.quality() == GOOD
        street.beat(seq)
    assert street.now_ms - T0_MS - BEAT_MS == BEHIND_AFTER_MS
    assert street.quality("state") == street.quality("") == STALE
    assert street.quality("tele") == GOOD
    shown = district.gateway_answer(street.gateway, street.now_ms)
    assert shown.behind == {"state": "35 batches it has sealed have not arrived"}
    assert shown.backlog == 35
    street.gateway.took(at(44))
    assert street.quality() == GOOD
    assert street.gateway.behind(street.now_ms) == {}


def test_what_a_gateway_sealed_while_it_was_away_makes_its_old_values_stale_at_once() -> None:
    street = Street()
    street.now_ms += 3_600_000
    assert street.quality() == STALE
    street.conn = 2
    street.born(200)
    assert street.gateway.link(street.now_ms) == "up"
    assert street.quality() == STALE
    street.gateway.took(at(200))
    assert street.quality() == GOOD


def test_after_a_restart_nothing_is_vouched_for_until_the_gateway_says_where_it_stands() -> None:
    restarted = Gateway("gw", seen_ms=T0_MS, is_connected=True, conn=1)
    assert restarted.link(T0_MS + 1) == "up"
    assert restarted.shown_quality(Point(1, GOOD, 0), T0_MS + 1) == STALE


def test_a_held_stream_is_stale_and_the_other_is_not() -> None:
    street = Street()
    street.gateway.held["tele"] = "link 11 does not follow"
    assert (street.quality("state"), street.quality("tele"), street.quality("")) == (GOOD, STALE, STALE)


def test_a_disk_that_takes_no_records_for_longer_than_a_beat_makes_everything_stale() -> None:
    street = Street()
    street.beat(unsealed=3)
    assert street.quality() == GOOD
    street.beat(unsealed=90, after_ms=UNSEALED_AFTER_MS)
    assert street.quality("state") == street.quality("tele") == STALE
    assert district.gateway_answer(street.gateway, street.now_ms).unsealed == 90
    street.beat()
    assert street.quality() == GOOD


@pytest.mark.parametrize("quality", [Quality.UNCERTAIN, Quality.BAD])
def test_a_worse_quality_of_its_own_stays(quality: Quality) -> None:
    street = Street()
    assert street.gateway.shown_quality(Point(1, int(quality), 0, "state"), street.now_ms) == quality
    street.now_ms += 60_000
    assert street.gateway.shown_quality(Point(1, int(quality), 0, "state"), street.now_ms) == max(quality, STALE)


async def test_the_api_says_why_and_points_turn_stale_over_real_sockets(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    async with manager.live(voice).connected(beat_s=600) as gateway:
        gateway.tell(voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
        voice.samples({"segment-1/n": 2})  # Sealed and never sent.
        voice.conn += 1
        await gateway.publish(voice.birth())
        await gateway.publish(voice.heartbeat(unsealed=4))
        await until(lambda: manager.room.registry.gateways["gw-darcy"].unsealed)
        [shown] = (await manager.http.get("/api/gateways")).json()
        assert (shown["link"], shown["backlog"], shown["unsealed"], list(shown["behind"])) == ("up", 1, 4, ["state"])
        equipment = (await manager.http.get("/api/equipment/gw-darcy/segment-1")).json()
        assert equipment["points"]["n"]["quality"] == STALE
