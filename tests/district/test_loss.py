"""A fleet manager that lost its database hears again whatever the agents still keep."""

from tests.district.rig import District, wait_until
from tests.district.test_kills import GATEWAYS, arrived, gateways, mark, produced, reachable, stored

RESEND_S = 90.0  # Two go-backs without progress are waited for before a loss is believed, and a stream may be idle.


def test_a_removed_database_of_the_fleet_fills_again_from_the_cabinets() -> None:
    with District() as district:
        before = wait_until("everything is acknowledged", lambda: acknowledged(district))
        for name in ("fleet.db", "fleet.db-wal", "fleet.db-shm"):
            (district.home / "fleet" / name).unlink(missing_ok=True)
        district.kill("fleet")
        wait_until("the fleet answers", lambda: reachable(district))
        wait_until("every gateway is heard", lambda: all(each["link"] == "up" for each in gateways(district)))
        wait_until("every piece of equipment has values", lambda: all_have_points(district), RESEND_S)
        marks = {gateway: agents(mark(district, gateway)) for gateway in GATEWAYS}
        wait_until("all of it", lambda: all(arrived(district, *each) for each in marks.items()), RESEND_S)
        district.stop()
        hashes = {key: found for key, found, _ in stored(district)}
        kept = {key: found for key, found in produced(district).items() if key[3] <= marks[key[0]].get(key[1], 0)}
    assert any(key[3] <= before[key[0]][key[1]] for key in kept), "nothing from before was kept: the test proves little"
    assert {key: hashes.get(key) for key in kept} == kept


def acknowledged(district: District) -> dict[str, dict[str, int]] | None:
    """Where every stream ends, once the fleet has equipment with values and no gateway has a backlog."""
    if not all_have_points(district) or any(each["backlog"] for each in gateways(district)):
        return None
    return {gateway: mark(district, gateway) for gateway in GATEWAYS}


def all_have_points(district: District) -> bool:
    return all(
        any(each["points"] for each in district.get("/api/district")["equipment"] if each["gateway"] == gateway)
        for gateway in GATEWAYS
    )


def agents(heads: dict[str, int]) -> dict[str, int]:
    """The agent's streams: the guard keeps no link that was acknowledged, and answers for its stream itself."""
    return {stream: seq for stream, seq in heads.items() if stream != "safety"}
