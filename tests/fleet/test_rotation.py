"""A gateway's signing keys follow one another: said by the old ones and the new ones, and for a while both are good."""

from pathlib import Path

from agent.cli import credentials
from agent.wire import enrolment
from agent.wire.keyfile import Signer, read_signer
from agent.wire.topics import up
from fleet.keylist import DAY_MS, ROTATION_DAYS
from tests.fleet.joining import City, city
from tests.fleet.standin import unix_ms

__all__ = ["city"]
CITY, GATEWAY, REFUSED = "dijon", "gw-darcy", 3


def believed(city: City, signer: Signer, name: str, at_ms: int) -> bool:
    topic = up(CITY, GATEWAY, name)  # type: ignore[arg-type]
    try:
        city.manager.room.ring.open(signer.seal(b"x", topic), topic, "up", at_ms)
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return False
    return True


async def test_new_keys_are_endorsed_by_the_old_ones_signed_by_the_officers_and_put_in_place(city: City) -> None:
    await city.join()
    await city.new_key_list()
    old = {role: read_signer(city.state / f"keys/{role}.pem") for role in ("agent", "guard")}
    ended, text = await city.gateway("renew", "--new-keys")
    assert (ended, "once the officers have signed them" in text) == (0, True), text
    new = {role: read_signer(city.state / f"rotation/{role}.pem") for role in ("agent", "guard")}
    assert (await city.gateway("renew"))[0] == 0  # Nobody has signed yet: nothing moves.
    assert city.own_kids() == {each.kid.decode() for each in old.values()}

    told = await city.new_key_list()
    assert all(f"+ {each.kid.decode()}" in told for each in new.values())
    assert all(f"~ {each.kid.decode()}" in told for each in old.values())
    now_ms = unix_ms()
    for role, name in (("agent", "state"), ("guard", "safety")):
        assert believed(city, old[role], name, now_ms)
        assert believed(city, new[role], name, now_ms)
        assert not believed(city, old[role], name, now_ms + (ROTATION_DAYS + 1) * DAY_MS)
        assert believed(city, new[role], name, now_ms + (ROTATION_DAYS + 1) * DAY_MS)

    ended, text = await city.gateway("renew", "--now")  # It brings the list, and with it the keys may be used.
    assert (ended, text.count("is in place")) == (0, 2), text
    assert city.own_kids() == {each.kid.decode() for each in new.values()}
    assert read_signer(city.state / "keys/agent.pem.before").kid == old["agent"].kid
    assert (await city.gateway("renew", "--now"))[0] == 0  # By the new key.


async def test_keys_that_the_old_ones_did_not_all_endorse_are_refused(city: City) -> None:
    await city.join()
    await city.new_key_list()
    homes: dict[str, Path] = {"agent": city.state, "guard": city.state}
    real = enrolment.make_rotation

    def by_the_agent_alone(statement: bytes, town: str, gateway: str, registered: list[Signer]) -> bytes:
        return real(statement, town, gateway, registered[:1])

    enrolment.make_rotation = by_the_agent_alone  # type: ignore[assignment]
    try:
        asked = credentials.prepare_rotation(city.state, homes, CITY, GATEWAY, unix_ms(), "")
    finally:
        enrolment.make_rotation = real
    headers = {"Content-Type": "application/pkcs10"}
    answer = await city.manager.http.post("/.well-known/est/simplereenroll", content=asked.request, headers=headers)
    assert (answer.status_code, "key of the guard has not signed" in answer.text) == (403, True), answer.text
    assert city.manager.room.ring.version == 2
