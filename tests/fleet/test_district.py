"""What the API shows of the street, with real sockets from gateway to browser."""

from collections.abc import Callable

from tests.fleet.conftest import Running, until
from tests.fleet.standin import StandIn


async def test_a_gateway_that_is_born_and_speaks_is_shown_with_its_points(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/level_percent": 60, "segment-1/name": "a", "door": True}))
        await gateway.wait_acknowledged()
        await until(lambda: manager.room.registry.gateways["gw-darcy"].modes)
        answer = (await manager.http.get("/api/district")).json()
    assert answer["city"] == "dijon"
    assert answer["term"] == 1
    [shown] = answer["gateways"]
    assert (shown["id"], shown["link"], shown["backlog"], shown["rejected"]) == ("gw-darcy", "up", 0, 0)
    segment, junction, lamp = answer["equipment"]
    assert [segment["id"], junction["id"], lamp["id"]] == ["segment-1", "junction-1", "lamp-1"]
    assert segment["name"] == "Rue <b>Musette</b>"
    assert segment["mode"] == "supervised"
    assert segment["points"]["level_percent"]["value"] == 60
    assert segment["points"]["level_percent"]["quality"] == 0
    assert 0 <= segment["points"]["level_percent"]["age_ms"] < 20_000
    assert lamp["parent"] == "segment-1"
