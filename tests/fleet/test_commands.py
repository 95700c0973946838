"""Commands from an HTTP request to a signed outcome and back, over a real broker, through the cabinet's own gate."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agent.wire.messages import CommandMessage
from fleet import command_rows
from tests.fleet.conftest import Running, until
from tests.fleet.standin import LiveGateway, StandIn


async def ask(manager: Running, verb: str = "set-level", equipment: str = "segment-1", **more: Any) -> httpx.Response:
    body = {"gateway": "gw-darcy", "equipment": equipment, "verb": verb, "args": {"level_percent": 60, "lease_s": 600}}
    return await manager.http.post("/api/commands", json=body | {"operator": "alice"} | more)


async def known(manager: Running) -> None:
    """Until the manager has heard the gateway's birth."""
    registry = manager.room.registry
    await until(lambda: registry.gateways.get("gw-darcy") and registry.gateways["gw-darcy"].nonces)


async def test_a_command_is_signed_sent_and_its_outcome_returned(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        answer = (await ask(manager)).json()
        listed = (await manager.http.get("/api/commands")).json()
        one = (await manager.http.get(f"/api/commands/{answer['command_id']}")).json()
    assert (answer["status"], answer["rule"], answer["state"]) == ("done", "", "the level is 60 %")
    assert listed == [one] == [answer]
    [command] = gateway.commands
    assert (command.verb, command.args) == ("set-level", {"level_percent": 60, "lease_s": 600})
    assert command.not_after_ms - command.issued_ms <= 30_000


async def test_a_verb_nobody_knows_is_passed_on_and_the_cabinets_rule_is_shown(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    gateway = manager.live(standin())
    gateway.answer = lambda _command: ("refused", "SR-01", "no such verb 'set-green'")
    async with gateway.connected():
        await known(manager)
        answer = (await ask(manager, "set-green", "junction-1", args={})).json()
    assert (answer["status"], answer["rule"], answer["reason"]) == ("refused", "SR-01", "no such verb 'set-green'")


async def test_counters_rise_across_commands_and_restarts_of_the_manager(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        for _ in range(3):
            assert (await ask(manager)).json()["status"] == "done"
    assert [each.counter for each in gateway.commands] == [1, 2, 3]
    assert manager.room.store.read(command_rows.counters) == {"alice/1": 3}


async def test_a_counter_the_cabinet_has_seen_already_is_passed(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    gateway = manager.live(standin())
    gateway.counters = {"alice/1": 41}
    async with gateway.connected():
        await known(manager)
        manager.room.registry.gateways["gw-darcy"].counters["alice/1"] = 41
        assert (await ask(manager)).json()["status"] == "done"
    assert gateway.commands[0].counter == 42


async def test_flash_waits_for_a_second_person_and_carries_both_signatures(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        waiting = (await ask(manager, "flash", "junction-1", args={"lease_s": 300})).json()
        assert waiting["status"] == "awaiting-approval"
        assert not gateway.commands
        path = f"/api/commands/{waiting['command_id']}/approve"
        own = await manager.http.post(path, json={"operator": "alice"})
        assert (own.status_code, own.json()["detail"]) == (
            409,
            "alice asked for this: a different operator must approve it",
        )
        done = (await manager.http.post(path, json={"operator": "bruno"})).json()
        again = await manager.http.post(path, json={"operator": "bruno"})
    assert (done["status"], done["operator"], done["approvers"]) == ("done", "alice", ["bruno"])
    assert again.status_code == 409
    assert len(gateway.commands) == 1


async def test_an_approval_is_tried_without_sending_what_goes_on_waiting(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        waiting = (await ask(manager, "flash", "junction-1", args={"lease_s": 300})).json()
        path = f"/api/commands/{waiting['command_id']}/approve"
        own = await manager.http.post(path, json={"operator": "alice", "dry_run": True})
        tried = (await manager.http.post(path, json={"operator": "bruno", "dry_run": True})).json()
        assert not gateway.commands
        done = (await manager.http.post(path, json={"operator": "bruno"})).json()
    assert own.status_code == 409
    assert (tried["status"], tried["reason"].split(",")[0]) == ("dry-run", "would be signed by alice/1 and bruno/1")
    assert done["status"] == "done"


async def test_two_approvals_at_once_send_one_command(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        waiting = (await ask(manager, "flash", "junction-1", args={"lease_s": 300})).json()
        path = f"/api/commands/{waiting['command_id']}/approve"
        both = await asyncio.gather(*(manager.http.post(path, json={"operator": "bruno"}) for _ in range(2)))
        assert sorted(each.status_code for each in both) == [200, 409]
    assert len(gateway.commands) == 1


async def test_nothing_is_kept_for_a_gateway_that_is_away(manager: Running, standin: Callable[..., StandIn]) -> None:
    async with manager.live(standin()).connected():
        await known(manager)
    voice = standin()
    async with manager.live(voice).connected() as gateway:
        await known(manager)
        await gateway.publish(voice.death())
        await until(lambda: not manager.room.registry.gateways["gw-darcy"].is_connected)
        answer = await ask(manager)
        assert answer.status_code == 409
        assert answer.json()["detail"].startswith("gateway is not connected")
        assert not gateway.commands


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"gateway": "gw-nowhere"}, 404, "no gateway 'gw-nowhere'"),
        ({"equipment": "no-such"}, 404, "gw-darcy has no equipment 'no-such'; it has segment-1, junction-1, lamp-1"),
        ({"operator": "mallory"}, 403, "no key of an operator 'mallory' is held here; there are alice, bruno"),
        ({"args": {"n": 2**70}}, 400, "a number must fit into 64 bits"),
        ({"args": {"n": [1]}}, 400, "Validation failed"),
        ({"wait_s": 61}, 400, "wait_s"),
        ({"surprise": 1}, 400, "surprise"),
        ({"verb": ""}, 400, "verb"),
    ],
)
async def test_a_command_without_addressee_or_form_is_refused_in_words(
    manager: Running, standin: Callable[..., StandIn], change: dict[str, Any], status: int, words: str
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        answer = await ask(manager, **change)
        assert answer.status_code == status
        assert words in answer.json()["detail"]
    assert not gateway.commands


async def test_a_dry_run_sends_nothing_and_says_whose_the_verdict_is(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        answer = (await ask(manager, dry_run=True)).json()
        assert (await manager.http.get("/api/commands")).json() == []
    assert answer["status"] == "dry-run"
    assert "alice/1" in answer["reason"]
    assert answer["state"] == "nothing was sent; the verdict is the cabinet's"
    assert not gateway.commands


async def test_no_result_in_time_is_unknown_and_a_late_one_is_still_told(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.commands.LIFETIME_MS", 1_000)
    monkeypatch.setattr("fleet.commands.RESULT_GRACE_MS", 0)
    gateway = manager.live(standin())
    gateway.answer = lambda _command: None
    async with gateway.connected():
        await known(manager)
        first = (await ask(manager, wait_s=0)).json()
        assert first["status"] == "sent"
        waiting = (await ask(manager, wait_s=10)).json()
        assert waiting["status"] == "unknown"
        assert "no result" in waiting["reason"]
        await gateway.publish(gateway.voice.outcome(gateway.commands[1]))
        path = f"/api/commands/{waiting['command_id']}"
        async with asyncio.timeout(10):
            while (await manager.http.get(path)).json()["status"] != "done":  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.02)
        kinds = [each["kind"] for each in (await manager.http.get("/api/events")).json()]
    assert "command.late-result" in kinds


async def test_many_in_the_same_moment_find_no_more_room_than_one_after_the_other(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.commands.OPEN_MAX", 3)
    gateway = manager.live(standin())
    gateway.answer = lambda _command: None
    async with gateway.connected():
        await known(manager)
        equipment = ["segment-1", "segment-1", "segment-1", "segment-1", "junction-1", "junction-1"]
        verbs = ["set-level"] * 4 + ["flash"] * 2  # A flash waits for a second person: it is open too.
        answers = await asyncio.gather(
            *(ask(manager, verb, thing, wait_s=0) for verb, thing in zip(verbs, equipment, strict=True))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3


async def test_nobody_approves_and_the_command_expires(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.commands.APPROVAL_MS", 100)
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        waiting = (await ask(manager, "flash", "junction-1")).json()
        path = f"/api/commands/{waiting['command_id']}"
        async with asyncio.timeout(10):
            while (await manager.http.get(path)).json()["status"] != "expired":  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.05)
        late = await manager.http.post(f"{path}/approve", json={"operator": "bruno"})
        assert late.status_code == 409
    assert not gateway.commands


async def test_a_command_whose_counter_is_not_on_disk_never_leaves(
    manager: Running, standin: Callable[..., StandIn], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with manager.live(standin()).connected() as gateway:
        await known(manager)
        with manager.room.store.engine.connect() as connection:
            connection.exec_driver_sql("ALTER TABLE issuers RENAME TO gone")
            connection.commit()
        answer = await ask(manager)
        with manager.room.store.engine.connect() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO issuers")
            connection.commit()
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("the command was not sent, because it could not be recorded")
        assert not gateway.commands
        assert (await ask(manager)).json()["status"] == "done"


async def test_a_restarted_manager_takes_up_open_commands(manager: Running, standin: Callable[..., StandIn]) -> None:
    gateway: LiveGateway = manager.live(standin())
    silent: list[CommandMessage] = []
    gateway.answer = silent.append
    async with gateway.connected():
        await known(manager)
        sent = (await ask(manager, wait_s=0)).json()
        await until(lambda: gateway.commands)
        manager.room.commands._open.clear()
        await manager.room.commands.load()
        assert list(manager.room.commands._open) == [sent["command_id"]]
        await gateway.publish(gateway.voice.outcome(gateway.commands[0]))
        await until(lambda: not manager.room.commands._open)
