"""An operator whose key the officers took out acts no more, and is told so: the cabinet would not even answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.model.identity import CityId, GatewayId
from agent.wire.keyfile import read_signer
from tests.fleet.conftest import Running, running, until
from tests.fleet.desk import CITY, GATEWAY, OfficersDesk
from tests.fleet.standin import StandIn

FLASH: dict[str, Any] = {"gateway": GATEWAY, "equipment": "junction-1", "verb": "flash", "args": {"lease_s": 300}}
LEVEL: dict[str, Any] = {
    "gateway": GATEWAY,
    "equipment": "segment-1",
    "verb": "set-level",
    "args": {"level_percent": 60, "lease_s": 60},
}


class City:
    """One manager, one gateway that answers, and the officers."""

    def __init__(self, manager: Running, desk: OfficersDesk) -> None:
        self.manager, self.desk = manager, desk
        keys = desk.trust / "gateways" / GATEWAY
        voice = StandIn(
            CityId(CITY), GatewayId(GATEWAY), read_signer(keys / "agent.pem"), read_signer(keys / "guard.pem")
        )
        self.gateway = manager.live(voice)

    async def ask(self, body: dict[str, Any], operator: str = "alice", path: str = "commands") -> httpx.Response:
        return await self.manager.http.post(f"/api/{path}", json=body | {"operator": operator})

    async def take_out(self, kid: str) -> None:
        version = self.manager.room.ring.version
        await asyncio.to_thread(self.desk.publish, "--remove", kid)
        await until(lambda: self.manager.room.ring.version == version + 1)


@pytest.fixture
async def city(tmp_path: Path, broker_port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[City]:
    monkeypatch.setattr("fleet.keys_in_force.KEY_LIST_S", 0.05)
    desk = OfficersDesk(tmp_path)
    async with running(tmp_path / "fleet", desk.trust, broker_port) as manager:
        made = City(manager, desk)
        async with made.gateway.connected():
            known = manager.room.registry.gateways
            await until(lambda: GATEWAY in known and known[GATEWAY].nonces)
            yield made


async def test_a_command_by_a_key_that_was_taken_out_is_refused_in_words_and_never_signed(city: City) -> None:
    assert (await city.ask(LEVEL)).json()["status"] == "done"
    await city.take_out("alice/1")
    for body in (LEVEL, LEVEL | {"dry_run": True}, FLASH):
        answer = await city.ask(body)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "alice may not act: the key alice/1 is not in key list 2. Nothing was done; the officers sign key lists",
        )
    assert (await city.manager.http.get("/api/operators")).json() == ["bruno"]
    assert (await city.ask(LEVEL, "bruno")).json()["status"] == "done"
    assert [each.issuer for each in city.gateway.commands] == ["alice/1", "bruno/1"]


@pytest.mark.parametrize("gone", ["alice/1", "bruno/1"])
async def test_what_waits_for_a_second_person_is_not_sent_once_either_key_was_taken_out(city: City, gone: str) -> None:
    waiting = (await city.ask(FLASH)).json()
    await city.take_out(gone)
    answer = await city.ask({}, "bruno", f"commands/{waiting['command_id']}/approve")
    assert (answer.status_code, f"the key {gone} is not in key list 2" in answer.json()["detail"]) == (403, True)
    assert not city.gateway.commands


async def test_nobody_commands_by_a_key_list_that_is_over(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city.manager.room.ring, "expires_ms", 1)
    answer = await city.ask(LEVEL)
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "key list 1 is over: no cabinet takes a command until officers sign anew",
    )
    assert not city.gateway.commands
