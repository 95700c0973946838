"""Desired states at the manager: signed, numbered for ever, sent to who is behind, compared with what is reported."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agent.wire import sealing, topics
from agent.wire.envelope import digest
from agent.wire.messages import Desired, DesiredReport, SettingReport
from fleet import desired
from fleet.cli import main
from fleet.merkle_log import digest_of, places_of
from tests.fleet.conftest import Running, until
from tests.fleet.standin import LiveGateway, StandIn, unix_ms
from tests.fleet.test_commands import known

NIGHT = "night_level_percent"
NOTHING = DesiredReport(0, b"", [])


async def ask(manager: Running, settings: dict[str, dict[str, Any]], **more: Any) -> httpx.Response:
    body = {"operator": "alice", "settings": settings}
    return await manager.http.post("/api/desired/gw-darcy", json=body | more)


def opened(manager: Running, gateway: LiveGateway, sealed: bytes) -> Desired:
    topic = topics.down(gateway.voice.city, gateway.voice.id, "desired")
    return sealing.open_desired(manager.room.ring, sealed, topic, unix_ms())


def keeps_to(gateway: LiveGateway, sealed: bytes, generation: int, *reports: SettingReport) -> None:
    gateway.voice.desired = DesiredReport(generation, digest(sealed), list(reports))


async def test_a_change_makes_the_next_whole_document_signed_for_that_gateway(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin(desired=NOTHING)).connected() as gateway:
        await known(manager)
        await until(lambda: manager.room.desired._told)
        first = (await ask(manager, {"segment-1": {NIGHT: 60}})).json()
        await until(lambda: len(gateway.desired_states) == 1)
        await ask(manager, {"lamp-1": {"colour": "warm"}}, operator="bruno")  # Not ours to judge.
        await ask(manager, {"segment-1": {NIGHT: None}})
        await until(lambda: len(gateway.desired_states) == 3)
        versions = (await manager.http.get("/api/desired/gw-darcy/history")).json()
        kinds = [each["kind"] for each in (await manager.http.get("/api/events")).json()]
    documents = [opened(manager, gateway, sealed) for sealed in gateway.desired_states]
    assert [each.generation for each in documents] == [1, 2, 3]
    lines = [[(one.equipment, one.setting, one.value) for one in each.settings] for each in documents]
    night, colour = ("segment-1", NIGHT, 60), ("lamp-1", "colour", "warm")
    assert lines == [[night], [colour, night], [colour]]
    assert (first["generation"], first["is_reached"], first["settings"][0]["status"]) == (1, False, "not-reported")
    assert [(each["generation"], each["operator"]) for each in versions] == [(3, "alice"), (2, "bruno"), (1, "alice")]
    assert versions[0]["digest"] == digest_of(gateway.desired_states[2]).hex()
    assert kinds.count("desired.set") == 3
    assert len(manager.room.store.read(lambda connection: places_of(connection, "desired gw-darcy"))) == 3


async def test_what_the_gateway_reports_stands_beside_what_is_desired(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin(desired=NOTHING)).connected(beat_s=0.05) as gateway:
        await known(manager)
        await ask(manager, {"segment-1": {NIGHT: 10}})
        await until(lambda: gateway.desired_states)
        behind = (await manager.http.get("/api/desired/gw-darcy")).json()
        refused = SettingReport("segment-1", NIGHT, "refused", "LR-01", "10 % is below the floor")
        keeps_to(gateway, gateway.desired_states[0], 1, refused)
        await until(lambda: manager.room.desired._told["gw-darcy"].report.generation)
        [reached] = (await manager.http.get("/api/desired")).json()
    assert (behind["is_reached"], behind["reported_generation"]) == (False, 0)
    assert "the gateway keeps to none" in behind["text"]
    assert (reached["is_reached"], reached["reported_generation"]) == (True, 1)
    line = {"equipment": "segment-1", "setting": NIGHT, "value": 10}
    assert reached["settings"] == [line | {"status": "refused", "rule": "LR-01", "reason": "10 % is below the floor"}]
    assert "is kept to: 1 refused (heard 0 s ago)" in reached["text"]


async def test_a_gateway_that_was_away_gets_it_when_it_is_born_and_not_what_it_has(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin(desired=NOTHING)).connected():
        await known(manager)
    await ask(manager, {"segment-1": {NIGHT: 60}})
    async with manager.live(standin(conn=2, desired=NOTHING)).connected() as gateway:
        await until(lambda: gateway.desired_states)
        sealed = gateway.desired_states[0]
        assert opened(manager, gateway, sealed).generation == 1
    voice = standin(conn=3, desired=DesiredReport(1, digest(sealed), []))
    async with manager.live(voice).connected(beat_s=0.05) as gateway:
        await until(lambda: manager.room.registry.gateways["gw-darcy"].conn == 3)
        await until(lambda: manager.room.registry.gateways["gw-darcy"].beat > 3)
        assert not gateway.desired_states


async def test_what_was_lost_on_the_way_is_sent_again(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desired, "AGAIN_MS", 100)
    async with manager.live(standin(desired=NOTHING)).connected(beat_s=0.05) as gateway:
        await known(manager)
        await ask(manager, {"segment-1": {NIGHT: 60}})
        await until(lambda: len(gateway.desired_states) >= 2)
    assert len(set(gateway.desired_states)) == 1


async def test_after_the_database_was_lost_generations_go_on_above_what_the_gateway_keeps_to(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    voice = standin(desired=DesiredReport(41, bytes(32), []))
    async with manager.live(voice).connected() as gateway:
        await known(manager)
        await until(lambda: manager.room.desired._told)
        answer = (await ask(manager, {"segment-1": {NIGHT: 60}})).json()
        await until(lambda: gateway.desired_states)
        voice.desired = DesiredReport(2**63 - 1, bytes(32), [])
        await gateway.publish(voice.heartbeat())
        await until(lambda: manager.room.desired._told["gw-darcy"].report.generation > 41)
        last = await ask(manager, {"segment-1": {NIGHT: 50}})
    assert answer["generation"] == 42
    assert last.status_code == 409


async def test_a_document_this_database_does_not_know_is_told_once(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    voice = standin(desired=NOTHING)
    async with manager.live(voice).connected(beat_s=0.05):
        await known(manager)
        await ask(manager, {"segment-1": {NIGHT: 60}})
        voice.desired = DesiredReport(1, bytes(32), [])

        async def told() -> list[dict[str, Any]]:
            events: list[dict[str, Any]] = (await manager.http.get("/api/events")).json()
            return [each for each in events if each["kind"] == "desired.foreign"]

        await until(lambda: manager.room.desired._complained)
        await until(lambda: manager.room.registry.gateways["gw-darcy"].beat > 40)
        assert len(await told()) == 1


async def test_a_dry_run_signs_stores_and_sends_nothing(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin(desired=NOTHING)).connected() as gateway:
        await known(manager)
        answer = (await ask(manager, {"segment-1": {NIGHT: 60}}, dry_run=True)).json()
        assert (await manager.http.get("/api/desired/gw-darcy/history")).json() == []
    assert (answer["is_dry_run"], answer["generation"], answer["settings"][0]["value"]) == (True, 1, 60)
    assert not gateway.desired_states


WRONG: list[tuple[Any, dict[str, str], int, str]] = [
    ({"no-such": {NIGHT: 60}}, {}, 404, "gw-darcy has no equipment 'no-such'"),
    ({"segment-1": {NIGHT: 60}}, {"operator": "mallory"}, 403, "no key of an operator 'mallory'"),
    ({}, {}, 400, "settings"),
    ({"segment-1": {f"s{n}": n for n in range(65)}}, {}, 400, "65 settings; a gateway takes at most 64"),
    ({"segment-1": {NIGHT: [60]}}, {}, 400, "settings"),
]


async def test_what_cannot_be_done_is_refused_in_words(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin(desired=NOTHING)).connected():
        await known(manager)
        for settings, more, status, words in WRONG:
            answer = await ask(manager, settings, **more)
            assert answer.status_code == status, answer.text
            assert words in answer.json()["detail"]
        await ask(manager, {"segment-1": {NIGHT: 60}})
        again = await ask(manager, {"segment-1": {NIGHT: 60}})
        nowhere = await manager.http.get("/api/desired/gw-nowhere")
    assert (again.status_code, again.json()["detail"]) == (409, "generation 1 says so already; nothing was changed")
    assert nowhere.status_code == 404


async def test_without_a_disk_nothing_is_changed_or_sent(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin(desired=NOTHING)).connected() as gateway:
        await known(manager)
        with manager.room.store.engine.connect() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON desired BEGIN SELECT RAISE(FAIL, 'full'); END"
            )
            connection.commit()
        answer = await ask(manager, {"segment-1": {NIGHT: 60}})
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("nothing was changed, because it could not be recorded")
        assert not gateway.desired_states


async def test_the_command_line_sets_shows_and_tells_the_history(
    manager: Running, standin: Callable[..., StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    async def type_(line: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*line.split(), "--url", manager.url])
        said = capsys.readouterr()
        return code, said.out + said.err

    async with manager.live(standin(desired=NOTHING)).connected():
        await known(manager)
        change = f"desired set gw-darcy segment-1 {NIGHT}=60 --operator alice"
        assert (await type_(f"{change} --dry-run"))[0] == 0
        assert await type_("desired show") == (0, "nothing was set for any gateway\n")
        code, said = await type_(change)
        assert (code, said.splitlines()[1]) == (0, f"    segment-1  {NIGHT}=60  not reported")
        assert (await type_(change))[0] == 3
        code, said = await type_("desired history gw-darcy")
        assert said.startswith("generation 1  ")
        assert f"segment-1  {NIGHT}=60" in said
        assert '"is_reached": false' in (await type_("desired show gw-darcy --json"))[1]
        assert (await type_("desired set gw-darcy segment-1 --operator alice"))[0] == 2
        assert (await type_("desired show ../commands"))[0] == 2
